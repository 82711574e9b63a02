# Hashes, strings, threads and a compacting collector; a digest as the result.
# usage: ruby_objects.rb ROUNDS
require "digest"
require "json"

digest = Digest::SHA256.new
Integer(ARGV[0]).times do |round|
  rows = (1..20_000).map { |i| { "id" => i, "name" => "row #{i * round}", "list" => [i] * (i % 9) } }
  rows.reject! { |row| (row["id"] % 3).zero? }
  digest << JSON.generate(rows)
  threads = (0...4).map do |number|
    Thread.new { rows.each_slice(100).map { |slice| slice.sum { |row| row["id"] * number } } }
  end
  threads.each { |thread| digest << thread.value.join(",") }
  text = rows.map { |row| row["name"] }.join(" ")
  digest << text.gsub(/row (\d)/) { "line #{Regexp.last_match(1)}" }
  GC.start
  GC.compact if GC.respond_to?(:compact)
end
puts digest.hexdigest

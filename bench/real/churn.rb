# churn.rb ROUNDS: objects with strings, arrays and hashes that come and go.
# Ruby keeps the objects themselves in pages of its own; what they hold beyond 24 bytes is malloc's.
# A sum over what lives at the end is printed.

Person = Struct.new(:name, :tags, :notes)

class Draw
  def initialize(seed)
    @seed = seed
  end

  def below(limit)
    @seed = (@seed * 1_103_515_245 + 12_345) % 2_147_483_648
    @seed / 65_536 % limit
  end
end

draw = Draw.new(42)
kept = {}
total = 0
ARGV[0].to_i.times do |round|
  people = Array.new(300) do
    name = "n#{draw.below(30_000)}" + "x" * draw.below(80)
    tags = { first: name[0, 3], upper: name.upcase, number: draw.below(100), round: round,
             text: name * 2, list: name.bytes, more: nil, rest: name.reverse, last: name.length }
    Person.new(name, tags, [name, name + "!", name.sub("x", "y")])
  end
  text = people.sort_by(&:name).map { |person| person.tags[:text] }.join(",")
  text.split(",").each { |word| total = (total * 31 + word.length + word.getbyte(-1)) % 1_000_000_007 }
  kept[draw.below(1000)] = people[draw.below(300)]
  kept[draw.below(1000)] = text.gsub("n", "mm")
end
sizes = kept.values.map { |one| one.is_a?(String) ? one.length : one.name.length + one.notes.length }
puts "sum #{total} kept #{kept.length} sizes #{sizes.sum}"

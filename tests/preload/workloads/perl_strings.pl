# Hashes of hashes, strings that grow and shrink, a sort and a substitution; prints a checksum.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);

my $rounds = shift;
my $seed = 5;
sub number { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed >> 8; }

my (%table, @lines);
for my $step (1 .. $rounds) {
	my $value = number();
	my $key = "key" . $value % 5000;
	$table{$key}{"sub" . $value % 37} .= "x" x ($value % 90);
	$table{$key}{count}++;
	delete $table{"key" . number() % 5000} if $step % 3 == 0;
	push @lines, join(",", map { $_ * $value % 997 } 1 .. $value % 12);
	if (@lines > 4000) {
		@lines = sort { length $a <=> length $b or $a cmp $b } @lines;
		splice @lines, 0, 3000;
	}
	$lines[-1] =~ s/(\d+)/<$1>/g;
}
my $text = join "\n", @lines;
for my $key (sort keys %table) {
	$text .= "\n$key " . join " ", map { "$_=$table{$key}{$_}" } sort keys %{$table{$key}};
}
print length $text, " ", scalar keys %table, " ", sha256_hex($text), "\n";

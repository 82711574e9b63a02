# A burst of perl: a hash of strings and lists, sorted by value.
use strict;
use warnings;

$| = 1;
while (<STDIN>) {
	my %h = map { ("key $_" => ["x" x ($_ % 150), $_]) } 1 .. 220000;
	my @sorted = sort { $h{$a}[1] <=> $h{$b}[1] } keys %h;
	die "the order is wrong" if $sorted[-1] ne "key 220000";
	undef @sorted;
	undef %h;
	print "done\n";
}

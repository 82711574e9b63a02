# A burst of perl: texts by name, made of parts, rewritten and sorted by length. Perl keeps the
# arenas of its values for ever, but frees texts.
use strict;
use warnings;

$| = 1;
while (<STDIN>) {
	my %texts = map { ("text $_" => join(",", ("part $_") x ($_ * 7919 % 700))) } 1 .. 20000;
	s/part (\d)/$1/g for values %texts;
	my @sorted = sort { length $texts{$a} <=> length $texts{$b} || $a cmp $b } keys %texts;
	die "the order is wrong" if length $texts{$sorted[0]} > length $texts{$sorted[-1]};
	undef @sorted;
	undef %texts;
	print "done\n";
}

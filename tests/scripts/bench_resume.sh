#!/bin/bash
# bench_resume.sh SCRIPTS_DIRECTORY LIBHAK OTHER_LIBRARY BENCH_DIRECTORY
#
# Goal    scripts/bench --resume measures each row once, goes on after it was ended, and believes no
#         number of another library, nor of fewer runs.
# Method  one row is measured, then two: the first row's lines of the file must not change. Then
#         with another library and another number of runs: now they must.
set -uo pipefail

scripts=$1
libhak=$2
other=$3
programs=$4
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
runs="$scratch/runs.csv"

complain() {
	echo "$*"
	failed=1
}

# bench LIBRARY ARGUMENT...
bench() {
	local library=$1
	shift
	timeout 100 "$scripts/bench" --quick --lib "$library" --bench-dir "$programs" \
		--without '.*' --resume "$runs" "$@" >"$scratch/said" 2>"$scratch/errors"
}

# The values of a row, whose times differ from run to run. Other rows may bring more columns.
row() {
	grep "^$1 " "$runs" | tr -d '\r' | sed 's/,,*/,/g; s/,$//'
}

bench "$libhak" --programs '^aligned ' || complain "the first row: $(cat "$scratch/errors")"
aligned=$(row aligned)
[ -n "$aligned" ] || complain "nothing was written"

bench "$libhak" --programs '^(aligned|strings) ' || complain "the second row"
[ "$(row aligned)" == "$aligned" ] || complain "a row was measured twice"
[ -n "$(row strings)" ] || complain "the second row was not written"
grep -q '^aligned ' "$scratch/said" || complain "a row of the file is not in the table"

strings=$(row strings)
bench "$libhak" --programs '^aligned ' || complain "the first row alone"
[ "$(row strings)" == "$strings" ] || complain "a row that was not asked for is lost"

bench "$libhak" --programs '^aligned ' --runs 2 || complain "two runs"
[ "$(row aligned | wc -l)" -eq "$((2 * $(wc -l <<<"$aligned")))" ] || complain "one run for two"

aligned=$(row aligned)
bench "$other" --programs '^aligned ' --runs 2 || complain "another library"
[ "$(row aligned)" != "$aligned" ] || complain "numbers of one library for another's"

echo 'row,allocator,run' >"$runs"
bench "$libhak" --programs '^aligned '
[ $? -eq 2 ] || complain "a file of something else was taken"
grep -q 'no runs that could be gone on with' "$scratch/errors" || complain "and without a word"

exit "$failed"

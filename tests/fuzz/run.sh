#!/bin/bash
# run.sh PROGRAM CORPUS BYTES_MAX SECONDS|long
#
# Goal    what the corpus holds is survived, and so is what the fuzzer makes of it in the time.
# Method  the corpus first, each file once; then libFuzzer, on a copy, so that a run leaves nothing
#         behind but an input that fails: that one stays beside the program.
set -euo pipefail

program=$1
corpus=$2
bytes_max=$3
seconds=$4
[ "$seconds" != long ] || seconds=${HAK_LONG_SECONDS:-600}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=$(dirname -- "$program")/failures
mkdir -p "$failures" "$scratch/found"

options=(-max_len="$bytes_max" -len_control=0 -timeout=60 -rss_limit_mb=4096
	-artifact_prefix="$failures/$(basename -- "$program")-")

files=("$corpus"/*)
[ -e "${files[0]}" ] || { echo "$corpus is empty"; exit 1; }
"$program" "${options[@]}" "${files[@]}" >"$scratch/log" 2>&1 || {
	cat "$scratch/log"
	exit 1
}
"$program" "${options[@]}" -max_total_time="$seconds" -print_final_stats=1 \
	"$scratch/found" "$corpus" >"$scratch/log" 2>&1 || {
	tail -n 60 "$scratch/log"
	exit 1
}

count=$(sed -nE 's/^stat::number_of_executed_units: ([0-9]+)$/\1/p' "$scratch/log")
edges=$(sed -nE 's/^#[0-9]+\s+DONE\s+cov: ([0-9]+) .*/\1/p' "$scratch/log")
[ -n "$count" ] && [ -n "$edges" ] || { tail "$scratch/log"; exit 1; }
echo "summary: ${#files[@]} inputs of the corpus, $count in $seconds s, $edges edges"

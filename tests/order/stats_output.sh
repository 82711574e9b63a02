#!/bin/sh
# stats_output.sh LIBRARY PROGRAM
# Goal: the summary of HAK_STATS goes to what fd 2 was at the start, and into no file of the
# program's that has that number at the end. Method: a program that opens such a file.
set -eu
file=$(mktemp)
trap 'rm -f "$file"' EXIT
summary=$(HAK_STATS=1 LD_PRELOAD=$1 "$2" "$file" 2>&1)
case $summary in
"hak: ${2##*/}["[0-9]*"] MiB: live "*) ;;
*) echo "the summary is: $summary"; exit 1 ;;
esac
[ ! -s "$file" ] || { echo "the program's file holds:"; cat "$file"; exit 1; }

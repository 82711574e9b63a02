#!/bin/sh
# reports.sh LIBRARY PROGRAM SENTENCES: runs PROGRAM (reports.c) under HAK_MISUSE=report and
# compares what it says with the file SENTENCES, where addresses and the like stand as letters.
set -eu

said=$(HAK_MISUSE=report LD_PRELOAD=$1 "$2" 2>&1) || {
	echo "it ended with $?:"
	echo "$said"
	exit 1
}
normal=$(echo "$said" | sed -E 's/0x[0-9a-f]+/%p/; s/\[[0-9]+\]/[%u]/; s/^hak: [a-z_]+/hak: NAME/')
[ "$normal" = "$(cat "$3")" ] || {
	echo "it said:"
	echo "$normal"
	exit 1
}

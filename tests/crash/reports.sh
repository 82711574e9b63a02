#!/bin/sh
# reports.sh LIBRARY PROGRAM: runs PROGRAM (reports.c) under HAK_MISUSE=report and compares what it
# says with the sentences below; addresses and the like stand as letters.
set -eu

said=$(HAK_MISUSE=report LD_PRELOAD=$1 "$2" 2>&1) || {
	echo "it ended with $?:"
	echo "$said"
	exit 1
}
normal=$(echo "$said" | sed -E 's/0x[0-9a-f]+/%p/; s/\[[0-9]+\]/[%u]/; s/^hak: [a-z_]+/hak: NAME/')
expected='hak: NAME[%u] free of %p, which is not aligned to 16 bytes
hak: NAME[%u] free of %p, which is not aligned to 16 bytes
hak: NAME[%u] free of %p, which lies inside a run or mapping of 114688 bytes
hak: NAME[%u] free of %p, which lies inside a run or mapping of 114688 bytes
hak: NAME[%u] free of %p, which is not memory of this allocator, or no longer
hak: NAME[%u] free of %p, which is not memory of this allocator, or no longer
hak: NAME[%u] malloc_usable_size of %p, which is not memory of this allocator, or no longer
hak: NAME[%u] malloc_usable_size of %p, which lies inside a run or mapping of 114688 bytes
hak: NAME[%u] realloc of %p, which is not memory of this allocator, or no longer
hak: NAME[%u] free_sized of %p, a block of 112 bytes (class 7), which was not allocated for 1000
hak: NAME[%u] double free of %p, a block of 112 bytes (class 7)
hak: NAME[%u] free of %p, which is not in use: freed before, or never given out
hak: NAME[%u] free of %p, which is not memory of this allocator, or no longer
hak: NAME[%u] free of %p, which lies inside a block of 64 bytes (class 4)
hak: NAME[%u] double free of %p, a block of 64 bytes (class 4)'
[ "$normal" = "$expected" ] || {
	echo "it said:"
	echo "$normal"
	exit 1
}

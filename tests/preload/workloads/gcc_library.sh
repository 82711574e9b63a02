#!/bin/bash
# Compiles the sources of libhak, ROUNDS times, and prints the hash of every object file.
# usage: gcc_library.sh SOURCE_TREE ROUNDS
#
# The compiler has no clock in what it writes, and its one use of chance is fixed by -frandom-seed,
# so the same source must give the same bytes. The levels differ to send it down more of its paths.
set -euo pipefail
tree=$1 rounds=$2 out=$PWD
cd "$tree"
levels=(-O2 -O3 -Os)
mapfile -t sources < <(find libhak -name '*.c' | LC_ALL=C sort)
[ ${#sources[@]} -gt 0 ] || { echo "no sources below $tree/libhak" >&2; exit 1; }
for ((round = 0; round < rounds; round++)); do
	level=${levels[round % ${#levels[@]}]}
	for source in "${sources[@]}"; do
		object=$out/$round-${source//\//-}.o
		gcc -std=gnu11 "$level" -g -fPIC -frandom-seed=hak -D_GNU_SOURCE -DHAK_DEBUG=0 \
			-I. -Iinclude -Iproto -Ilibhak -c "$source" -o "$object"
	done
done
cd "$out"
sha256sum -- *.o

#!/bin/bash
# Configures and builds libhak itself by make -j2, and prints the hash of its library's code.
# usage: make_project.sh SOURCE_TREE
set -euo pipefail
cp -r "$1" tree
cmake -S tree -B build -G "Unix Makefiles" -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF > log 2>&1
make -C build -j2 hak > log 2>&1 || { cat log >&2; exit 1; }
# The paths of the build are in it, and are the same in every run.
objcopy -O binary --only-section=.text "$(readlink -f build/libhak/libhak.so)" text
sha256sum text

#!/bin/bash
# Compiles forms_of_new.cpp, prints the object's hash and runs the program.
# usage: cxx_program.sh SOURCE
set -euo pipefail
cd -- "$(dirname -- "$1")"
out=$OLDPWD
g++ -std=c++17 -O1 -g -Wall -Wextra -Werror -pthread -frandom-seed=hak -c "$(basename -- "$1")" \
	-o "$out/forms_of_new.o"
cd -- "$out"
g++ -pthread -o forms_of_new forms_of_new.o
sha256sum forms_of_new.o
./forms_of_new

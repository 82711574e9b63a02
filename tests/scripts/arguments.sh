#!/bin/bash
# arguments.sh SCRIPTS_DIRECTORY
#
# Goal    each script says what is wrong with its arguments at once, in one sentence, with status 2;
#         and --help is no error.
# Method  each case ends before anything is built, installed or run; `timeout` finds those that do
#         not. The last line on stderr must hold the words expected.
set -uo pipefail

scripts=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# refused WORDS SCRIPT ARGUMENT...
refused() {
	local words=$1 script=$2 status=0 said
	shift 2
	said=$(timeout 20 "$scripts/$script" "$@" 2>&1 >"$scratch/out") || status=$?
	said=$(tail -n 1 <<<"$said")
	if [ "$status" -ne 2 ] || [ -s "$scratch/out" ] ||
		[[ $said != "$script: "*"$words"* ]]; then
		echo "$script $*: status $status, last line: $said"
		failed=1
	fi
}

# helped SCRIPT
helped() {
	local said
	if ! said=$(timeout 20 "$scripts/$1" --help 2>"$scratch/errors") ||
		[[ $said != "usage: "* ]] || [ -s "$scratch/errors" ]; then
		echo "$1 --help is no help"
		failed=1
	fi
}

for script in bench coverage demo deps test; do
	helped "$script"
done

refused "exclude each other" test --quick --all
refused "unrecognized arguments: --nonsense" bench --nonsense
refused "/nonexistent/x: No such file or directory" bench --csv /nonexistent/x
refused "$scratch: Is a directory" bench --csv "$scratch"
refused "'x' is not NAME=PATH" bench --peer x
refused "there is no file '/nonexistent'" bench --peer x=/nonexistent
refused "there is a glibc already" bench --peer "glibc=$0"
refused "there is no file '/nonexistent'" bench --lib /nonexistent
refused "there is no directory '/nonexistent'" bench --bench-dir /nonexistent
refused "'0' is not a whole number" bench --threads 0
refused "'' is not a whole number" bench --threads 1,
refused "at most 256 threads" bench --threads 257
refused "'0' is not a whole number" bench --runs 0
refused "'many' is not a whole number" bench --runs many
refused "/nonexistent/commands.txt: No such file or directory" bench --suite /nonexistent
refused "no row matches" bench --programs nonsense
refused "there is no argument '--nonsense'" demo --nonsense
refused "needs a path" demo --lib
refused "needs a path" demo --lib ''
refused "needs a path" demo --lib=
refused "cannot be preloaded" demo --lib /nonexistent/x
refused "cannot be preloaded" demo --lib "$0"
refused "there is no argument '--nonsense'" coverage --nonsense
refused "there is no group 'x'" deps x
refused "needs a group" deps
refused "there is no option '--nonsense'" test --nonsense
refused "exclude each other" test --long --quick
HAK_LONG_SECONDS=soon refused "HAK_LONG_SECONDS is 'soon'" test --long
HAK_LONG_SECONDS=0 refused "HAK_LONG_SECONDS is '0'" test --long

exit $failed

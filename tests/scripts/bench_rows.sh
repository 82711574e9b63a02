#!/bin/bash
# bench_rows.sh SCRIPTS_DIRECTORY LIBHAK BENCH_DIRECTORY
#
# Goal    scripts/bench runs foreign programs (--suite) as it does its own, takes a run of a real or
#         foreign program for failed wherever it did not measure what it says, and names file and
#         line of what is wrong with a list of commands.
# Method  small suites are made of real programs, some of which fail in a way each: they crash, have
#         a malloc of their own, or a child that holds most of the memory. Libraries are preloaded
#         that serve nothing, that change what a program answers, or that end it. What the table
#         and the CSV say is searched for the words expected.
set -uo pipefail

scripts=$1
libhak=$2
programs=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

complain() {
	echo "$*"
	failed=1
}

# bench ARGUMENT...: its output goes to $scratch/said, its messages to $scratch/errors.
bench() {
	timeout 100 "$scripts/bench" --lib "$libhak" --bench-dir "$programs" "$@" \
		>"$scratch/said" 2>"$scratch/errors"
}

# refused WORDS TEXT: a list of this text is refused with these words.
refused() {
	local words=$1 status=0 last
	printf '%b' "$2" >"$list"
	bench --suite "$scratch/suite" || status=$?
	last=$(tail -n 1 "$scratch/errors")
	if [ "$status" -ne 2 ] || [ -s "$scratch/said" ] || [[ $last != "bench: "*"$words"* ]]; then
		complain "a list of '$2': status $status, last line: $last"
	fi
}

# said WORDS: the table has a line that matches.
said() {
	grep -Eq -- "$1" "$scratch/said" || {
		complain "no line matches '$1' in:"
		cat "$scratch/said" "$scratch/errors"
	}
}

mkdir "$scratch/suite"
ln -s "$(type -P true)" "$scratch/suite/true"
: >"$scratch/suite/plain"
list="$scratch/suite/commands.txt"

bench --suite "$scratch/suite" && complain "a suite without a list was taken"
grep -q "commands.txt: No such file or directory" "$scratch/errors" ||
	complain "no word of the list"
refused "$list:1: 'one' has no command" 'one\n'
refused "$list:2: there is no file '$scratch/suite/absent'" '# first\none absent 1\n'
refused "$list:1: '$scratch/suite/plain' is not executable" 'one ./plain\n'
refused "$list:3: there is a 'one' already" 'one ./true\n\none ./true 2\n'
refused "$list:1: No closing quotation" "one ./true 'x\\n"
refused "$list:1: 'a,b' is no name" 'a,b ./true\n'
refused "$list:2: is not UTF-8" 'one ./true\ntwo ./true \xff\n'
refused "$list:3: the list ends without a command" '# nothing\n\n'
echo "one ./true" >"$list"
bench --suite "$scratch/suite" --check && complain "--suite and --check were taken together"
grep -q "excludes --check" "$scratch/errors" || complain "no word of --check"

# What the targets are measured from is asked for before the hours that the rows take.
mkdir "$scratch/part"
ln -s "$programs"/{aligned,liblimit.so} "$scratch/part"
timeout 60 "$scripts/bench" --lib "$libhak" --bench-dir "$scratch/part" --targets \
	--programs '^aligned' >"$scratch/said" 2>"$scratch/errors"
if [ $? -ne 2 ] || [ -s "$scratch/said" ] ||
	! grep -q "libempty.so does not exist" "$scratch/errors"; then
	complain "--targets without libempty.so was begun"
fi

# A child with 60 MiB beside a parent with hardly any: the peak is that of both. What it says is
# more than a pipe holds.
cat >"$scratch/suite/parent.py" <<'EOT'
#!/usr/bin/python3
import os, sys, time
if os.fork() == 0:
    block = b"x" * (60 << 20)
    time.sleep(0.5)
    os._exit(0)
os.wait()
print("much is said\n" * 100000)
EOT
# Its malloc is its own, so that no library can be measured by it.
cat >"$scratch/own.c" <<'EOT'
#include <string.h>
static char heap[1 << 20];
static size_t used;
void *malloc(size_t bytes) { used += 4096; return bytes > 4096 ? NULL : heap + used - 4096; }
void free(void *block) { (void)block; }
int main(void) { char *volatile copy = strdup("x"); free(copy); return 0; }
EOT
gcc -fno-builtin -o "$scratch/suite/own" "$scratch/own.c" || complain "own.c does not compile"
printf '#!/bin/sh\nkill -SEGV $$\n' >"$scratch/suite/crash"
printf '#!/bin/sh\necho gone >&2\nexit 3\n' >"$scratch/suite/status"
# shellcheck disable=SC2016 # the words are for the script that is written
printf '#!/bin/sh\n[ "$PWD" = "%s" ] && [ "$1" = "a  b" ]\n' "$scratch/suite" \
	>"$scratch/suite/words"
chmod +x "$scratch/suite"/{parent.py,crash,status,words}
printf 'tree ./parent.py\nwords words "a  b" # a comment\n' >"$list"
bench --suite "$scratch/suite" --runs 2 --csv "$scratch/runs.csv" ||
	complain "a good suite: status $?"
said "^tree: time of the whole process, runs: 2"
said "^  glibc +0?\.?[0-9.]+ m?s .* [67][0-9]\.[0-9] "
said "^words: "
said "^  glibc +time .* rows: 2"
[ "$(grep -Ec '^(tree|words),libhak,[0-9a-f]{16},[01],' "$scratch/runs.csv")" -eq 4 ] ||
	complain "the CSV has not four runs of libhak"

printf 'crash ./crash\nstatus ./status\nown ./own\n' >"$list"
bench --suite "$scratch/suite" --quick && complain "failed runs ended with 0"
said "^  libhak +FAILED: killed by SIGSEGV"
said "^  libhak +FAILED: exit status 3: gone"
said "^  libhak +FAILED: malloc came from .*/suite/own, not from"

# A peer that never serves anything: what is preloaded need not be what is used.
printf 'int nothing;\n' | gcc -shared -x c -o "$scratch/nothing.so" - || complain "no empty library"
bench --quick --programs '^(lua5.4|redis)' --peer "nothing=$scratch/nothing.so" ||
	complain "the real programs: status $?"
said "^  nothing +FAILED: malloc came from .*libc.so.6, not from .*nothing.so"
said "^  nothing +FAILED: malloc came from .*libjemalloc.so.2, not from .*nothing.so"

# Peers with the malloc of limit.c. One sorts the wrong way round, so that what a program says in
# the end is not what it says under glibc; one ends a server at its 30th connection, which is in the
# middle of its work.
cat >"$scratch/wrong.c" <<'EOT'
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef BOMB
int accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags)
{
	static int count;
	if (++count == 30)
		raise(SIGPROF);
	return (int)syscall(SYS_accept4, fd, address, bytes, flags);
}
#else
int strcoll(const char *one, const char *other) { return strcmp(other, one); }
#endif
EOT
wrong() {
	gcc -O1 -fno-builtin -D_GNU_SOURCE -shared -fPIC "$@" "$scratch/wrong.c" \
		"$scripts/../bench/limit.c" || complain "no library of $*"
}
wrong -o "$scratch/sorts.so"
wrong -DBOMB -o "$scratch/bomb.so"
started=$SECONDS
bench --quick --programs '^(lua5.4|redis)' --peer "sorts=$scratch/sorts.so" \
	--peer "bomb=$scratch/bomb.so" || complain "with two bad peers: status $?"
said "^  sorts +FAILED: line 1 of its output is 'sum.*, and under glibc 'sum"
said "^  bomb +FAILED: redis-server: killed by SIGPROF"
[ $((SECONDS - started)) -lt 50 ] || complain "a server that is gone was waited for"

# A bench that is ended takes the server with it, even where it can do nothing more itself.
TMPDIR=$scratch timeout -s KILL 1.5 "$scripts/bench" --lib "$libhak" --bench-dir "$programs" \
	--programs '^redis' >"$scratch/said" 2>"$scratch/errors"
sleep 0.5
left=$(grep -laz "unixsocket:$scratch" /proc/[0-9]*/cmdline 2>/dev/null)
if [ -n "$left" ]; then
	complain "a server was left behind: $left"
	for path in $left; do
		kill "$(cut -d / -f 3 <<<"$path")"
	done
fi

# What is not installed is left out, which is no failure while anything is left.
PATH=/nonexistent /usr/bin/timeout 60 "$scripts/bench" --lib "$libhak" --bench-dir "$programs" \
	--quick --programs '^(redis|python3 words)' >"$scratch/said" 2>"$scratch/errors" ||
	complain "without redis: status $?"
said "^python3 words.py "
grep -q "redis-server is not installed; redis-server .* is left out" "$scratch/errors" ||
	complain "nothing was said of redis"
PATH=/nonexistent /usr/bin/timeout 60 "$scripts/bench" --lib "$libhak" --bench-dir "$programs" \
	--quick --programs '^redis' >"$scratch/said" 2>"$scratch/errors"
[ $? -eq 2 ] || complain "without any row the status is not 2"

exit $failed

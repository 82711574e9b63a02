#!/usr/bin/python3
"""What scripts/bench --counts tells of system calls and instructions.

Goal    each call is counted, of threads that call at the same time as well; the longest is named; a
        run that failed or had another malloc is not counted, and one that hangs leaves nobody
        behind; the CSV has the counts, and page faults, of our own programs and of real ones.
Method  a program whose threads make as many calls as they are told; programs that fail in a way
        each; then the script itself, with two rows.

usage: bench_counts.py SCRIPTS_FOLDER BENCH_FOLDER LIBHAK BENCH_PROGRAMS
"""

import csv
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[2])

from side_by_side import counts
from side_by_side.runs import RunError
from side_by_side.whole import Process

SCRIPT = pathlib.Path(sys.argv[1], "bench")
LIBHAK, PROGRAMS = (pathlib.Path(word).resolve() for word in sys.argv[3:5])
THREADS = 4
# A slow call; and a loop of one instruction at least for each round.
SOURCE = """
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
static long rounds;
static void *ask(void *page)
{
	for (long i = 0; i < rounds; i++)
		madvise(page, 4096, MADV_DONTNEED);
	return NULL;
}
int main(int argc, char **argv)
{
	pthread_t threads[4];
	rounds = atol(argv[1]);
	for (volatile long i = atol(argv[2]); i > 0; i--)
		;
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, ask, mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	if (argc > 3)
		mmap(NULL, 128 << 20, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return 0;
}
"""


def refused(words, function, job, library=None):
    try:
        said = function(job, library)
    except RunError as error:
        assert words in str(error), error
        return
    raise AssertionError(f"{job.command} was counted: {said}")


def check_calls(program):
    few, _ = counts.system_calls(counts.Job([program, "1", "0"]), None)
    many, _ = counts.system_calls(counts.Job([program, "301", "0"]), None)
    assert many["madvise"] - few["madvise"] == THREADS * 300, (few, many)
    # A machine at work may hold up another call for as long, once.
    said = [counts.system_calls(counts.Job([program, "1", "0", "slow"]), None) for _ in range(3)]
    assert all(numbers["mmap"] == few["mmap"] + 1 for numbers, _ in said), (few, said)
    assert any(name == "mmap" and seconds > 0.003 for _, (seconds, name) in said), said


def check_instructions(program):
    few = counts.instructions(counts.Job([program, "1", "100000"]), None)
    many = counts.instructions(counts.Job([program, "1", "1100000"]), None)
    assert 1e6 < many - few < 1e7, (few, many)


def check_failures(folder):
    for function in (counts.system_calls, counts.instructions):
        refused("status 3", function, counts.Job(["/bin/sh", "-c", "exit 3"]))
        refused("status -11", function, counts.Job(["/bin/sh", "-c", "kill -SEGV $$"]))
        refused("cannot be preloaded", function, counts.Job(["/bin/true"]), "/nonexistent.so")
    own = counts.Job([str(PROGRAMS / "trees"), "4", "1"], is_own=True)
    refused("malloc came from", counts.system_calls, own, PROGRAMS / "libempty.so")
    assert counts.system_calls(own, LIBHAK)[0]["mmap"] > 0
    counts.SECONDS_MAX = 1
    marks = folder / "marks"
    late = counts.Job(["/bin/sh", "-c", f"sleep 3; echo alive >> {marks}"])
    refused("not over after 1 s", counts.system_calls, late)
    subprocess.run(["sleep", "4"], check=True)
    assert not marks.exists(), "who hung was left behind"


def check_faults():
    """Of the program alone: the copy of the interpreter that became it has hundreds."""
    sample, *_ = Process(["/bin/true"], None, "/").finish()
    assert 20 < sample["minor_faults"] < 200, sample


def check_table(folder):
    path = folder / "runs.csv"
    done = subprocess.run(
        [SCRIPT, "--quick", "--counts", "--csv", path, "--programs", "^(crowd|lua5.4|redis-server)",
         "--without", "mimalloc|jemalloc|tcmalloc", "--lib", LIBHAK, "--bench-dir", PROGRAMS],
        capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "counts: none, a server is driven from outside" in done.stdout, done.stdout
    with open(path, encoding="utf-8") as stream:
        runs = list(csv.DictReader(stream))
    assert len(runs) == 9, runs
    for run in runs:
        assert float(run["minor_faults"]) > 0, run
        if run["row"].startswith("redis"):
            assert run["mmap_calls"] == "", run
        else:
            assert float(run["mmap_calls"]) > 5 and float(run["instructions"]) > 1e5, run
            assert float(run["madvise_calls"]) >= (run["allocator"] == "libhak"), run
            assert float(run["longest_call_seconds"]) > 0, run


with tempfile.TemporaryDirectory() as name:
    PROGRAM = str(pathlib.Path(name, "program"))
    subprocess.run(["gcc", "-O1", "-pthread", "-o", PROGRAM, "-x", "c", "-"], input=SOURCE,
                   text=True, check=True)
    check_calls(PROGRAM)
    check_instructions(PROGRAM)
    check_failures(pathlib.Path(name))
    check_faults()
    check_table(pathlib.Path(name))

#!/usr/bin/python3
"""Whether libhak has grown slower or larger: instructions and memory beside what a table expects.

Goal    a change that makes a call slower or the heap larger is seen when it is made. Time says
        little on a busy machine; the number of instructions is exact, and so nearly is memory.
Method  Each group runs some programs, all with fixed work and seeds: under callgrind (hit_path,
        slow_path, life, programs), or as they are (memory). What they cost is held against
        instructions.table within 3 %, and against bytes.table within 10 %.

  hit_path   malloc and its kin where the thread's magazine serves; beside the table, 18 and 20
             instructions are the most that malloc and free may take
  slow_path  where it does not: from and to depots, slabs, runs, mappings, by another thread
  life       the birth of a process, over one that has an empty library; birth and death of a thread
  programs   five programs of bench/: the instructions of libhak alone
  memory     peaks of such programs, what they keep; /bin/true, and 300 KiB at most of it beyond
             what it has with an empty library
"""

import argparse
import concurrent.futures
import ctypes
import os
import pathlib
import subprocess
import sys

import callgrind
import table

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

COUNT_BAND_PERCENT = 3
MEMORY_BAND_PERCENT = 10
COUNT_WORDS = ("slower", "faster")
MEMORY_WORDS = ("larger", "smaller")

# What the design allows, whatever the table says.
MAX_INSTRUCTIONS = {"malloc": 18, "free": 20}
SIZES_OF_MAX = (16, 64, 100, 512, 1024)

# (pattern of calls.c, its SIZE and NUMBER, rounds, the calls to look at).
HIT_PATH = [("pair", size, 0, 1000, ("malloc", "free")) for size in (*SIZES_OF_MAX, 8192)] + [
    ("zeroed", 64, 0, 1000, ("calloc",)),
    ("zeroed", 1024, 0, 1000, ("calloc",)),
    ("aligned", 200, 64, 1000, ("posix_memalign",)),
    ("aligned", 4096, 4096, 1000, ("posix_memalign",)),
    ("resize", 60, 64, 1000, ("realloc",)),
    ("resize", 64, 1000, 1000, ("realloc",)),
]

# What a wave of 600 blocks of 64 bytes needs, magazine and depot hold; one of 20,000 comes from
# slabs. Of 1,024 bytes it is 110 and 4,000; of the largest class nothing is cached for long.
SLOW_PATH = [(*pattern, ("malloc", "free")) for pattern in (
    ("wave", 64, 600, 20), ("wave", 1024, 110, 50),
    ("wave", 64, 20000, 4), ("wave", 1024, 4000, 4), ("wave", 32768, 64, 20),
    ("shuffled_wave", 64, 20000, 4), ("shuffled_wave", 1024, 4000, 4),
    ("handed_wave", 64, 1000, 20), ("handed_wave", 1024, 100, 50),
    ("pair", 33 << 10, 0, 200), ("pair", 256 << 10, 0, 200), ("pair", 1 << 20, 0, 200),
    ("pair", 25 << 20, 0, 200))] + [("zeroed", 100000, 0, 50, ("calloc",))]

THREAD_PATTERNS = [("thread", 64, 8, 200), ("thread", 64, 0, 200)]

COUNTED_PROGRAMS = ("random_mixed 1000000 8192 42", "trees 14 2", "phase random 3 5000000 42",
                    "strings 5000 2 42", "server 1 1 5000 50000 42")

# Of each, the words of its last line to look at.
WEIGHED_PROGRAMS = {
    "burst 67108864 100 2 42": ("peak_bytes", "resident_bytes"),
    "burst 67108864 95 2 42": ("resident_bytes",),
    "random_mixed 2000000 100000 42": ("peak_bytes",),
    "phase random 2 30000000 42": ("peak_bytes",),
    "strings 400000 1 42": ("peak_bytes",),
    "zeroed 50000 500 42": ("peak_bytes",),
    "crowd 1500 4 42": ("thread_bytes",),
    "crowd 600 64 42": ("thread_bytes",),
}

# What /bin/true may have resident beyond what it has with an empty library.
PROCESS_BYTES_MAX = 300 << 10

RUN_SECONDS_MAX = 60


class Subject:
    """The library that is looked at, and where the programs are."""

    def __init__(self, build, library):
        self.build = pathlib.Path(build).resolve()
        self.library = library or self.build / "libhak" / "libhak.so"
        self.empty = self.build / "bench" / "libempty.so"
        for file in (self.library, self.empty):
            if not pathlib.Path(file).exists():
                sys.exit(f"{file} is not there: build first")

    def program(self, name):
        """One of the tests' own programs."""
        return str(self.build / "tests" / "counts" / f"counts_{name}")

    def bench(self, command):
        name, *arguments = command.split()
        return [str(self.build / "bench" / name), *arguments]


def named(group, *words):
    """As it stands in the table, which has no blanks."""
    return "/".join((group, *(word.replace(" ", "_") for word in words)))


def count_calls(subject, group, patterns):
    counts = {}
    for pattern, size, number, rounds, calls in patterns:
        profile = callgrind.profile_of(
            [subject.program("calls"), pattern, str(size), str(number), str(rounds)],
            subject.library, is_marked=True)
        for call in calls:
            name = named(group, f"{pattern} {size}" + (f" {number}" if number else ""), call)
            counts[name] = profile.cost_of_each(call)
    return counts


def count_hit_path(subject):
    return count_calls(subject, "hit_path", HIT_PATH)


def count_slow_path(subject):
    return count_calls(subject, "slow_path", SLOW_PATH)


def count_life(subject):
    births = [callgrind.profile_of(["/bin/true"], library).all_cost
              for library in (subject.library, subject.empty)]
    counts = {"life/process": births[0] - births[1]}
    for pattern, size, number, rounds in THREAD_PATTERNS:
        profile = callgrind.profile_of(
            [subject.program("calls"), pattern, str(size), str(number), str(rounds)],
            subject.library, is_marked=True)
        counts[named("life", f"{pattern} {size} {number}")] = profile.own_cost / rounds
    return counts


def count_programs(subject):
    return {named("programs", command):
            callgrind.profile_of(subject.bench(command), subject.library).own_cost
            for command in COUNTED_PROGRAMS}


def run(command, library, settings=None):
    """What the command prints."""
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "LD_PRELOAD": str(library),
                   "HAK_REGISTER": "no", "HAK_DECAY": "3600000", **(settings or {})}
    done = subprocess.run(command, env=environment, text=True, capture_output=True,
                          timeout=RUN_SECONDS_MAX, check=False)
    if done.returncode == callgrind.EXIT_SKIPPED:
        print(f"{command[0]} may trace no process here")
        sys.exit(callgrind.EXIT_SKIPPED)
    if done.returncode != 0 or "cannot be preloaded" in done.stderr:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout


def last_words(text):
    """The values in the last line of what a program printed."""
    return {key: int(value) for key, _, value in
            (word.partition("=") for word in text.strip().rpartition("\n")[2].split(" "))
            if key.endswith("_bytes")}


def weigh_program(subject, command, keys):
    # What burst looks at is what has gone back within its 2 s; the others are not to be measured by
    # how long they take.
    settings = {"HAK_DECAY": "100"} if command.startswith("burst ") else {}
    values = last_words(run(subject.bench(command), subject.library, settings))
    return {named("memory", command, key): values[key] for key in keys}


def calm_kernel():
    """For the programs to come: no huge pages, where the system has them for everybody, and one
    processor, as the kernel sums resident memory up by processors and not to the page."""
    pr_set_thp_disable = 41
    ctypes.CDLL(None).prctl(pr_set_thp_disable, 1, 0, 0, 0)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def weigh_all(subject):
    calm_kernel()
    ours, least = (last_words(run([subject.program("at_exit"), "/bin/true"], library))
                   for library in (subject.library, subject.empty))
    # How much of a file comes along with what is needed of it changes with each line of code: so
    # there is no row for what is resident over an empty library.
    more_bytes = ours["resident_bytes"] - least["resident_bytes"]
    print(f"/bin/true has {more_bytes} bytes more than with an empty library")
    if more_bytes > PROCESS_BYTES_MAX:
        sys.exit(f"and may have {PROCESS_BYTES_MAX} at most")
    sizes = {"memory/process/anonymous_bytes": ours["anonymous_bytes"]}
    # burst sleeps for most of its time.
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(weigh_program, subject, command, keys)
                for command, keys in WEIGHED_PROGRAMS.items()]
        for one in runs:
            sizes |= one.result()
    return sizes


GROUPS = {"hit_path": count_hit_path, "slow_path": count_slow_path, "life": count_life,
          "programs": count_programs, "memory": weigh_all}


def check_maxima(counts):
    good = True
    for size in SIZES_OF_MAX:
        for call, most in MAX_INSTRUCTIONS.items():
            number = counts[named("hit_path", f"pair {size}", call)]
            if number > most:
                print(f"{call} of {size} bytes takes {table.show(number)} instructions, and may "
                      f"take {most} at most")
                good = False
    return good


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", metavar="GROUP", nargs="*", help="which; all if none is given")
    parser.add_argument("--renew", action="store_true",
                        help="write what was measured into the tables")
    parser.add_argument("--build", default=ROOT / "build" / "release", metavar="DIR",
                        help="of which build; build/release if not given")
    parser.add_argument("--library", metavar="FILE", help="another library in the place of libhak")
    parser.add_argument("--tables", default=HERE, type=pathlib.Path, metavar="DIR",
                        help="where the tables are, if not beside this file")
    options = parser.parse_args()
    for group in options.groups:
        if group not in GROUPS:
            parser.error(f"there is no group {group!r}: {', '.join(GROUPS)}")
    groups = options.groups or list(GROUPS)
    if groups != ["memory"]:
        callgrind.require()
    subject = Subject(options.build, options.library)
    counts = table.Table(options.tables / "instructions.table", COUNT_BAND_PERCENT)
    sizes = table.Table(options.tables / "bytes.table", MEMORY_BAND_PERCENT)
    good = True
    for group in groups:
        expected, words = (sizes, MEMORY_WORDS) if group == "memory" else (counts, COUNT_WORDS)
        measured = GROUPS[group](subject)
        good &= expected.compare(group, measured, words)
        if options.renew:
            expected.renew(group, measured)
            good = True
        if group == "hit_path":
            good &= check_maxima(measured)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""How many instructions malloc and free execute on the hit path, and that it is no more than the
design allows.

usage: hit_path.py HIT_PATH LIBHAK

Goal    speed in time cannot be tested on a busy machine; the number of instructions can, exactly.
Method  hit_path runs under callgrind, preloaded with libhak, with two numbers of malloc/free pairs
        for each size. The inclusive cost of the calls that enter libhak's malloc and free from
        outside is read from both; the difference of cost by the difference of calls is the cost of
        one call. Inclusive, so that a step which moves into a function of its own is still counted.
        A fraction in the result means that some of the calls left the hit path.

Exit status 0 passed, 1 too many or not to be counted, 77 (skipped) without valgrind.
"""

import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

EXIT_SKIPPED = 77

SIZES = (16, 64, 100, 512, 1024)
PAIRS_FEW = 1000
PAIRS_MANY = 11000
MAX_INSTRUCTIONS = {"malloc": 18, "free": 20}

# callgrind names a function by one of its symbols, and each of these two has two.
NAMES = {"malloc": {"malloc", "hak_malloc"}, "free": {"free", "hak_free"}}


def plain_name(symbol):
    """callgrind marks recursion and threads ("free'2"), the linker versions ("free@@HAK_0")."""
    return re.split(r"['@]", symbol)[0]


def entered_from_outside(callgrind_out, library):
    """Symbol to [calls, inclusive cost] of all calls into the library from other objects.

    The format (callgrind's manual): ob= and fn= set where the lines that follow spend their cost;
    cob= and cfn= name the callee of the next calls= line, cob= only where it is another object than
    the caller's; the line after calls= holds the position and the inclusive cost of those calls.
    """
    entered = collections.defaultdict(lambda: [0, 0])
    caller_object = callee_object = callee = ""
    lines = iter(callgrind_out.read_text("utf-8", "replace").splitlines())
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals:
            continue
        if key == "ob":
            caller_object = callee_object = value
        elif key == "cob":
            callee_object = value
        elif key == "cfn":
            callee = value
        elif key == "calls":
            cost = int(next(lines).split()[1])
            if callee_object == library and caller_object != library:
                entered[plain_name(callee)][0] += int(value.split()[0])
                entered[plain_name(callee)][1] += cost
            callee_object = caller_object
    return entered


def measure(program, library, size, pairs):
    """One run under callgrind: malloc and free to (calls, inclusive cost)."""
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory, "callgrind.out")
        run = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--dump-instr=no",
             "--compress-strings=no", "--compress-pos=no", program, str(size), str(pairs)],
            env={**os.environ, "LD_PRELOAD": library}, text=True, capture_output=True, check=False)
        if run.returncode != 0 or "cannot be preloaded" in run.stderr:
            sys.exit(f"hit_path: exit status {run.returncode}\n{run.stderr}")
        entered = entered_from_outside(out, library)
    costs = {}
    for function, names in NAMES.items():
        found = [entered[name] for name in names if name in entered]
        if not found:
            sys.exit(f"hit_path: nobody called {function} of {library}; its functions that were "
                     f"called: {', '.join(sorted(entered)) or 'none'}")
        costs[function] = tuple(sum(column) for column in zip(*found))
    return costs


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    if shutil.which("valgrind") is None:
        print("hit_path: valgrind is not installed")
        sys.exit(EXIT_SKIPPED)
    program = sys.argv[1]
    # callgrind prints the path that the loader mapped, which is the resolved one.
    library = str(pathlib.Path(sys.argv[2]).resolve())
    failed = False
    print(f"{'bytes':>6} " + " ".join(f"{function:>7}" for function in MAX_INSTRUCTIONS))
    for size in SIZES:
        few, many = (measure(program, library, size, pairs)
                     for pairs in (PAIRS_FEW, PAIRS_MANY))
        line = f"{size:6}"
        for function, limit in MAX_INSTRUCTIONS.items():
            calls, cost = (after - before for before, after in zip(few[function], many[function]))
            if calls != PAIRS_MANY - PAIRS_FEW:
                sys.exit(f"hit_path: {function} was called {calls} times between the two runs, "
                         f"not {PAIRS_MANY - PAIRS_FEW}")
            each = cost / calls
            failed |= each > limit
            line += f" {each:7g}"
        print(line, flush=True)
    print(f"{'at most':>6}" + " ".join(f"{limit:>7}" for limit in MAX_INSTRUCTIONS.values()))
    if failed:
        sys.exit("hit_path: too many instructions")


if __name__ == "__main__":
    main()

"""Runs of programs under callgrind, preloaded with a library, and what they cost.

The machine has no part in the numbers: the environment is always the same, which also keeps the C
library from choosing its memset and memcpy by the processor, and nothing in libhak happens because
of the clock.
"""

import collections
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

EXIT_SKIPPED = 77
RUN_SECONDS_MAX = 100

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C",
    # The routines that every x86-64 has.
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-AVX512VL,-AVX512BW,-EVEX,-ERMS,-FSRM,"
                      "-SSSE3,-SSE4_1,-SSE4_2,-BMI2,-RTM",
    "HAK_REGISTER": "no",
    "HAK_DECAY": "3600000",
}

# The functions between which calls.c has what is to be counted.
BEGIN, END = "counted_begin", "counted_end"


class Profile:
    """entered   function of the library to [calls, inclusive cost], where others called it
    own_cost  instructions in the library's own code
    all_cost  instructions in the whole process"""

    def __init__(self):
        self.entered = collections.defaultdict(lambda: [0, 0])
        self.own_cost = 0
        self.all_cost = 0

    def cost_of_each(self, call):
        """Inclusive, for a call of malloc's family under either of its names: callgrind names a
        function by one of its symbols, and each of these has two."""
        found = [self.entered[name] for name in (call, "hak_" + call) if name in self.entered]
        if not found:
            sys.exit(f"callgrind: nobody called {call} of the library; what was called: "
                     f"{', '.join(sorted(self.entered)) or 'nothing'}")
        calls, cost = (sum(column) for column in zip(*found))
        return cost / calls


def require():
    """Ends the test as skipped where there is no valgrind."""
    if shutil.which("valgrind", path=ENVIRONMENT["PATH"]) is None:
        print("valgrind is not installed")
        sys.exit(EXIT_SKIPPED)


def plain_name(symbol):
    """callgrind marks recursion and threads ("free'2"), the linker versions ("free@@HAK_0")."""
    return re.split(r"['@]", symbol)[0]


def read(path, library):
    """The profile in a file of callgrind's.

    The format (callgrind's manual): ob= and fn= set where the lines that follow spend their cost;
    cob= and cfn= name the callee of the next calls= line, cob= only where it is another object than
    the caller's; the line after calls= holds the position and the inclusive cost of those calls;
    every other line that begins with a digit is a position and a cost of the function's own.
    """
    profile = Profile()
    caller_object = callee_object = callee = ""
    lines = iter(path.read_text("utf-8", "replace").splitlines())
    for line in lines:
        key, _, value = line.partition("=")
        if key == "ob":
            caller_object = callee_object = value
        elif key == "cob":
            callee_object = value
        elif key == "cfn":
            callee = plain_name(value)
        elif key == "calls":
            cost = int(next(lines).split()[1])
            if callee_object == library and caller_object != library:
                profile.entered[callee][0] += int(value.split()[0])
                profile.entered[callee][1] += cost
            callee_object = caller_object
        elif line[:1].isdigit():
            cost = int(line.split()[1])
            profile.all_cost += cost
            if caller_object == library:
                profile.own_cost += cost
    return profile


def profile_of(command, library, is_marked=False):
    """One run. is_marked: of the part between BEGIN and END alone."""
    # callgrind prints the path that the loader mapped, which is the resolved one.
    library = str(pathlib.Path(library).resolve())
    marks = [f"--zero-before={BEGIN}", f"--dump-before={END}"] if is_marked else []
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory, "out")
        run = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--dump-instr=no",
             "--compress-strings=no", "--compress-pos=no", *marks, *command],
            env={**ENVIRONMENT, "LD_PRELOAD": library}, cwd=directory, text=True,
            capture_output=True, timeout=RUN_SECONDS_MAX, check=False)
        if run.returncode != 0 or "cannot be preloaded" in run.stderr:
            sys.exit(f"{' '.join(command)}: exit status {run.returncode}\n{run.stderr}")
        return read(out.with_suffix(".1") if is_marked else out, library)

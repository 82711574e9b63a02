"""What a row asks of the kernel and of the processor: counts, from one run each that is not timed.

strace(1) counts the calls about memory and tells the longest; callgrind counts instructions, of a
fiftieth of the work, since it is a hundred times slower.
"""

import argparse
import collections
import pathlib
import re
import shutil
import subprocess
import tempfile

from .runs import RUN_SECONDS_MAX, environment_for

CALLS = ("mmap", "munmap", "mremap", "mprotect", "madvise", "brk")
LINE = re.compile(r"(?:\d+ +)?(\w+)\(.*<(\d+\.\d+)>$")


def missing_tools():
    return [tool for tool in ("strace", "valgrind") if not shutil.which(tool)]


def run(tool, command, environment):
    return subprocess.run([*tool, *command], env=environment, capture_output=True, text=True,
                          timeout=10 * RUN_SECONDS_MAX, check=False)


def system_calls(command, library):
    """Call to number, and (microseconds, name) of the longest."""
    numbers, longest = collections.Counter(), (0.0, "none")
    preload = ["-E", f"LD_PRELOAD={library}"] if library else []
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "calls")
        run(["strace", "-f", "-qq", "-T", "--seccomp-bpf", "-e", f"trace={','.join(CALLS)}", "-o",
             str(out), *preload], command, environment_for(None))
        for line in out.read_text("utf-8", "replace").splitlines():
            found = LINE.match(line)
            if found and found[1] in CALLS:
                numbers[found[1]] += 1
                longest = max(longest, (float(found[2]) * 1e6, found[1]))
    return numbers, longest


def instructions(command, library):
    """Of the whole process, or None where it failed."""
    said = run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"], command,
               environment_for(library)).stderr
    found = re.search(r"Collected : (\d+)", said)
    return int(found[1]) if found else None


def print_counts(row, allocators, directory, settings):
    quick = argparse.Namespace(**{**vars(settings), "quick": True})
    command, small = row.command(settings), row.command(quick)
    command[0] = small[0] = str(directory / command[0])
    print(f"  counts: system calls of one run, instructions of {' '.join(small[1:])}")
    for name, library in allocators.items():
        numbers, (longest, which) = system_calls(command, library)
        count = instructions(small, library)
        said = ", ".join(f"{call} {numbers[call]}" for call in CALLS)
        print(f"  {name:10} {said}; the longest {which} {longest:.0f} us; "
              f"{'not counted' if count is None else f'{count / 1e6:.1f} million'}")

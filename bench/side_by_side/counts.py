"""What a row asks of the kernel and of the processor: counts, from one run each that is not timed.

strace(1) counts the calls about memory and tells the longest; callgrind counts instructions, of a
fiftieth of the work, since it is a hundred times slower.
"""

import argparse
import collections
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

from . import real
from .rows import FOREIGN, REAL_KIND
from .runs import RUN_SECONDS_MAX, RunError, environment_for, values_of

CALLS = ("mmap", "munmap", "mremap", "mprotect", "madvise", "brk")
# A call that another thread's line interrupts is told in two, the second with its name and time.
LINE = re.compile(r"(?:\d+ +)?(?:(\w+)\(|<\.\.\. (\w+) resumed>).*<(\d+\.\d+)>$")
SECONDS_MAX = 10 * RUN_SECONDS_MAX


def missing_tools():
    return [tool for tool in ("strace", "valgrind") if not shutil.which(tool)]


@dataclasses.dataclass(frozen=True)
class Job:
    """A program as a tool has to start it."""

    command: list
    folder: pathlib.Path = pathlib.Path("/")
    stdin: str = "/dev/null"
    more: dict = dataclasses.field(default_factory=dict)
    # Our own programs say whose malloc served them.
    is_own: bool = False


def run(tool, job, library, environment):
    """Runs a program under a tool; returns what is said on standard error. The two are a process
    group of their own, since what strace runs would go on without it."""
    with open(job.stdin, "rb") as stdin, subprocess.Popen(
            [*tool, *job.command], env={**environment, **job.more}, cwd=job.folder, stdin=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            start_new_session=True) as process:
        try:
            out, errors = process.communicate(timeout=SECONDS_MAX)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise RunError(f"{tool[0]}: not over after {SECONDS_MAX} s") from error
            raise
    if process.returncode != 0 or "cannot be preloaded" in errors:
        raise RunError(f"{tool[0]}: status {process.returncode}: {errors.strip()[-200:]}")
    if job.is_own:
        values_of(out, library)
    return errors


def system_calls(job, library):
    """Call to number, and (seconds, name) of the longest."""
    numbers, longest = collections.Counter(), (0.0, "none")
    preload = ["-E", f"LD_PRELOAD={library}"] if library else []
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder, "calls")
        run(["strace", "-f", "-qq", "-T", "--seccomp-bpf", "-e", f"trace={','.join(CALLS)}", "-o",
             str(log), *preload], job, library, environment_for(None))
        with open(log, encoding="utf-8", errors="replace") as lines:
            for found in map(LINE.match, lines):
                if found:
                    name = found[1] or found[2]
                    numbers[name] += 1
                    longest = max(longest, (float(found[3]), name))
    return numbers, longest


def instructions(job, library):
    """Of the whole process."""
    said = run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"], job, library,
               environment_for(library))
    found = re.search(r"Collected : (\d+)", said)
    if not found:
        raise RunError("callgrind: no count")
    return int(found[1])


@contextlib.contextmanager
def job_of(row, directory, settings):
    """The row as one process, or None where it is more than that."""
    if row.kind == REAL_KIND:
        with real.prepared(row, settings) as program:
            yield None if isinstance(program, real.Redis) else Job(
                program.command, program.folder, str(program.stdin), program.more)
    elif row.kind == FOREIGN:
        yield Job(list(row.words), pathlib.Path(row.folder))
    else:
        name, *arguments = row.command(settings)
        yield Job([str(directory / name), *arguments], is_own=True)


def counted(library, job, small):
    """The counts of one allocator: key to number."""
    numbers, (seconds, which) = system_calls(job, library)
    counts = {f"{call}_calls": numbers[call] for call in CALLS}
    said = ", ".join(f"{call} {numbers[call]}" for call in CALLS)
    said += f"; the longest {which} {seconds * 1e6:.0f} us"
    counts["longest_call_seconds"] = seconds
    if small is not None:
        counts["instructions"] = instructions(small, library)
        said += f"; {counts['instructions'] / 1e6:.1f} million"
    return counts, said


def print_counts(row, results, allocators, directory, settings):
    """Prints the counts of each allocator that came through, and adds them to its samples."""
    quick = argparse.Namespace(**{**vars(settings), "quick": True})
    with job_of(row, directory, settings) as job, job_of(row, directory, quick) as small:
        if job is None:
            print("  counts: none, a server is driven from outside")
            return
        # --quick leaves a foreign program all of its work.
        small = None if row.kind == FOREIGN else small
        print("  counts: system calls of one run"
              + (f", instructions of {row.title(quick)}" if small else ""))
        for name, library in allocators.items():
            if isinstance(results[name], str):
                continue
            try:
                counts, said = counted(library, job, small)
            except RunError as error:
                print(f"  {name:10} not counted: {error}")
                continue
            print(f"  {name:10} {said}", flush=True)
            for sample in results[name]:
                sample.update(counts)

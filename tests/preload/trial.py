"""trial - runs a program with glibc's malloc and with the library, and judges the pair.

The judgement is strict: both end with 0, both print the same bytes, every process of the second
run's tree had the library mapped when it ended, and the executables that do the work are among
them. Only where not even the C library was mapped, as in a static program, or in one that was
killed before the loader had come so far, could it not be. complaints() is pure, so that its own
test can show it a difference of every kind.
"""

import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import launcher
import programs


class Unusable(Exception):
    """The trial cannot be made: something is missing or not permitted."""


@dataclass
class Trial:
    baseline: launcher.Run
    candidate: launcher.Run
    complaints: list


def glibc():
    """The path of the C library, as it is mapped in this very process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("/libc.so.6"):
            return line.split(None, 5)[5]
    raise Unusable("this Python does not run on glibc")


def library_path(text):
    path = Path(text).resolve()
    if not path.is_file():
        raise Unusable(f"there is no library at {path}")
    if any(letter in str(path) for letter in " :"):
        raise Unusable(f"LD_PRELOAD cannot hold a path with a blank or a colon: {path}")
    return str(path)


def _status_words(status):
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with {status}"


def _first_difference(one, other):
    lines, others = one.splitlines(), other.splitlines()
    for number, (line, with_library) in enumerate(zip(lines, others), 1):
        if line != with_library:
            return f"line {number} is {with_library[:200]!r} and not {line[:200]!r}"
    return f"{len(other)} bytes in {len(others)} lines and not {len(one)} in {len(lines)}"


def complaints(watched, baseline, candidate):
    """All that is wrong with the pair, as sentences; an empty list is a pass."""
    found = []
    for run, how in ((baseline, "with glibc"), (candidate, "with the library")):
        if run.failure:
            found.append(f"{how} {run.failure}")
        elif run.status != 0:
            errors = run.stderr.decode(errors="replace").strip()[-2000:]
            found.append(f"{how} it {_status_words(run.status)}: {errors or 'no word on stderr'}")
    if baseline.stdout != candidate.stdout:
        found.append("the result differs: " + _first_difference(baseline.stdout, candidate.stdout))
    if not baseline.stdout and watched != {"true"}:
        found.append("it printed no result that could be compared")

    without = sorted({image.name for image in candidate.images
                      if image.has_libc and not image.mapped})
    if without:
        found.append("the library was not mapped in " + ", ".join(without))
    unseen = sorted(watched - {image.name for image in candidate.images if image.mapped})
    if unseen:
        found.append("never seen at work with the library: " + ", ".join(unseen))
    return found


@contextmanager
def scratch_directory():
    """A temporary directory that goes away on every exit that a process can see."""
    def leave(number, _frame):
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    path = Path(tempfile.mkdtemp(prefix="hak-preload."))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def once(program, size, scratch, *, preload, library, extra=None):
    """One run in an empty directory, which has the same path in every run and is gone after it."""
    inputs, work = scratch / "inputs", scratch / "work"
    work.mkdir()
    try:
        return launcher.launch(
            program.command(inputs, size), preload=preload, library=library, directory=work,
            env={**programs.environment(work), **(extra or {})}, scratch=scratch,
            limit_seconds=program.limit_seconds)
    except launcher.TimeLimit as error:
        return launcher.Run(failure=str(error))
    except PermissionError as error:
        raise Unusable(f"ptrace(2) on a program of our own is not permitted: {error}") from error
    finally:
        shutil.rmtree(work)


@contextmanager
def prepared(program, size, scratch):
    """The program's inputs, for as long as the context lasts."""
    missing = program.missing()
    if missing:
        raise Unusable(f"not installed: {', '.join(missing)} (scripts/deps test all installs it)")
    inputs = scratch / "inputs"
    inputs.mkdir()
    try:
        program.prepare(inputs, size)
        yield
    finally:
        shutil.rmtree(inputs)


def warm_up(program, library, scratch):
    """One small run with glibc, whose outcome is not looked at."""
    with prepared(program, program.quick, scratch):
        once(program, program.quick, scratch, preload=glibc(), library=library)


def hold(program, size, library, scratch, *, extra=None):
    """Both runs of `program` and the judgement. `extra` is added to the second one's environment.

    The first run preloads glibc itself: that changes nothing for most programs, and it takes the
    place of a malloc that the program brings along, as Debian's redis-server does with jemalloc.
    """
    with prepared(program, size, scratch):
        baseline = once(program, size, scratch, preload=glibc(), library=library)
        candidate = once(program, size, scratch, preload=library, library=library, extra=extra)
    return Trial(baseline, candidate,
                 complaints(program.image_names(), baseline, candidate))

"""Single runs, and the runs of a row in turn."""

import os
import pathlib
import random
import re
import signal
import time

# A run that is not over by then hangs: the longest take seconds, not minutes.
RUN_SECONDS_MAX = 300
# Of the order of runs: the same for everybody, as the programs' own seeds are.
ORDER_SEED = 42

# Settings of the caller's shell would make one allocator run by other rules than its own defaults.
ALLOCATOR_SETTINGS = re.compile(
    r"LD_PRELOAD|GLIBC_TUNABLES|(MALLOC|MIMALLOC|JE_MALLOC|TCMALLOC|HAK)_.*|_RJEM_.*")


class RunError(Exception):
    """One run failed; the message says how."""


def spawn(command, environment):
    """Runs a command; returns (wait status, wall seconds, minor page faults, stdout, stderr).
    posix_spawn and wait4 without anything in between, so that the wall time is the process's
    own."""
    out_read, out_write = os.pipe()
    error_read, error_write = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, out_write, 1), (os.POSIX_SPAWN_DUP2, error_write, 2)]
    start = time.perf_counter()
    pid = os.posix_spawn(command[0], command, environment, file_actions=actions)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.alarm(RUN_SECONDS_MAX)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    signal.alarm(0)
    os.close(out_write)
    os.close(error_write)
    texts = []
    for fd in (out_read, error_read):
        with os.fdopen(fd, "r", encoding="utf-8", errors="replace") as stream:
            texts.append(stream.read())
    return status, seconds, usage.ru_minflt, *texts


def environment_for(library):
    environment = {key: value for key, value in os.environ.items()
                   if not ALLOCATOR_SETTINGS.fullmatch(key)}
    if library:
        environment["LD_PRELOAD"] = str(library)
    return environment


def values_of(out, library):
    """The values of the last line of a program of our own, which was to run under this library."""
    last_line = out.strip().rpartition("\n")[2]
    values = dict(word.partition("=")[::2] for word in last_line.split(" "))
    served_by = pathlib.Path(values.pop("allocator", "unknown"))
    values.pop("program", None)
    if library and served_by.resolve() != library.resolve():
        raise RunError(f"malloc came from {served_by}, not from {library}")
    if not library and not served_by.name.startswith("libc"):
        raise RunError(f"malloc came from {served_by}, not from glibc")
    return {key: float(value) for key, value in values.items()}


def expect_success(status, is_late, errors):
    """A run that did not end well, or without the library, has measured nothing."""
    said = f": {errors.strip()[:200]}" if errors.strip() else ""
    if is_late:
        raise RunError(f"not over after {RUN_SECONDS_MAX} s{said}")
    if os.WIFSIGNALED(status):
        raise RunError(f"killed by {signal.Signals(os.WTERMSIG(status)).name}{said}")
    if os.WEXITSTATUS(status) != 0:
        raise RunError(f"exit status {os.WEXITSTATUS(status)}{said}")
    if "cannot be preloaded" in errors:
        raise RunError(f"not preloaded{said}")


def run_once(command, library, whole_process):
    """One run; returns the values of its last line, with "seconds" the time to be compared."""
    status, wall_seconds, faults, out, errors = spawn(command, environment_for(library))
    expect_success(status, wall_seconds >= RUN_SECONDS_MAX, errors)
    sample = values_of(out, library)
    sample["loop_seconds"] = sample["seconds"]
    sample["wall_seconds"] = wall_seconds
    sample["minor_faults"] = faults
    if whole_process:
        sample["seconds"] = wall_seconds
    return sample


def run_row(row, allocators, run, settings):
    """Name to list of samples, or to the words of the run that failed. The runs alternate, in an
    order that is drawn for each round: who follows an allocator whose process leaves much to tidy
    up pays for it, and so nobody may always follow the same one."""
    results = {name: [] for name in allocators}
    names = list(allocators)
    order = random.Random(ORDER_SEED)
    for number in range(row.runs(settings)):
        order.shuffle(names)
        for name in names:
            if isinstance(results[name], str) or number >= row.runs_of(name, settings):
                continue
            try:
                results[name].append(run(allocators[name]))
            except RunError as error:
                results[name] = str(error)
    return results

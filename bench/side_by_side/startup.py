"""What a small process pays for libhak, over preloading a library that does nothing."""

import pathlib
import statistics

from .intervals import of_median, ratios
from .rows import QUICK_DIVISOR, RUNS_MIN
from .runs import RunError, environment_for, spawn
from .whole import Process, expect_allocator

PAIRS = 400
COMMANDS = (("/bin/true",), ("/bin/ls", "/"))


def seconds_of(command, library):
    status, seconds, _, _, errors = spawn(command, environment_for(library))
    if status != 0 or errors:
        raise RunError(f"{command[0]}: status {status} {errors.strip()[:200]}")
    return {"seconds": seconds}


def resident_of(command, library, is_allocator):
    """Bytes that a process has when it ends, counted page by page. Whose malloc it is can be seen
    where that is preloaded: `true` never calls the C library's own."""
    sample, _, served_by = Process(list(command), library, "/").finish()
    if is_allocator:
        expect_allocator(served_by, library)
    return sample["resident_bytes"]


def in_turn(pairs, take):
    """What a function of 0 for libhak and 1 for the empty library gives, as two lists. Who follows
    whom alternates as well."""
    taken = ([], [])
    for number in range(pairs):
        for which in (0, 1) if number % 2 else (1, 0):
            taken[which].append(take(which))
    return taken


def measure(library, empty, settings):
    """Yields (program, median, low, high) of the ratios of time, for each."""
    pairs = PAIRS // QUICK_DIVISOR if settings.quick else max(PAIRS, settings.runs)
    for command in COMMANDS:
        values = ratios(*in_turn(pairs, lambda which, command=command: seconds_of(
            command, (library, empty)[which])), "seconds")
        yield pathlib.Path(command[0]).name, statistics.median(values), *of_median(values)


def measure_resident(library, empty, settings):
    """Yields (program, median, low, high) of the bytes more, for each."""
    pairs = 1 if settings.quick else max(RUNS_MIN, settings.runs)
    for command in COMMANDS:
        mine, others = in_turn(pairs, lambda which, command=command: resident_of(
            command, (library, empty)[which], which == 0))
        values = [one - other for one, other in zip(mine, others)]
        yield pathlib.Path(command[0]).name, statistics.median(values), *of_median(values)

"""What a small process pays for libhak, over preloading a library that does nothing."""

import pathlib
import statistics

from .intervals import of_median, ratios
from .rows import QUICK_DIVISOR
from .runs import RunError, environment_for, spawn

PAIRS = 400
COMMANDS = (("/bin/true",), ("/bin/ls", "/"))


def seconds_of(command, library):
    status, seconds, _, _, errors = spawn(command, environment_for(library))
    if status != 0 or errors:
        raise RunError(f"{command[0]}: status {status} {errors.strip()[:200]}")
    return {"seconds": seconds}


def resident_bytes(library):
    """Of a process that reads its own resident set, by the kernel's exact count."""
    status, _, _, text, _ = spawn(("/bin/cat", "/proc/self/smaps_rollup"), environment_for(library))
    if status != 0:
        raise RunError("/proc/self/smaps_rollup cannot be read")
    return int(text.split("\nRss:")[1].split()[0]) << 10


def measure(library, directory, settings):
    """Yields (what, median of ratios, low, high) of the start, then (what, bytes more)."""
    empty = pathlib.Path(directory) / "libempty.so"
    pairs = PAIRS // QUICK_DIVISOR if settings.quick else PAIRS
    for command in COMMANDS:
        samples, others = [], []
        for number in range(pairs):
            # Who follows whom alternates as well.
            for which in (0, 1) if number % 2 else (1, 0):
                (samples, others)[which].append(seconds_of(command, (library, empty)[which]))
        values = ratios(samples, others, "seconds")
        yield pathlib.Path(command[0]).name, statistics.median(values), *of_median(values)


def resident_growth(library, directory):
    """Bytes of a small process beyond what it has with an empty library."""
    return resident_bytes(library) - resident_bytes(pathlib.Path(directory) / "libempty.so")

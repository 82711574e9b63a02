"""Who runs a row once under a library: by what kind of program it is."""

import contextlib
import functools

from . import real, suite
from .rows import FOREIGN, REAL_KIND
from .runs import run_once


@contextlib.contextmanager
def runner_of(row, directory, settings):
    """A function of the library, or of None for glibc, that gives a sample or raises RunError."""
    if row.kind == REAL_KIND:
        with real.prepared(row, settings) as run:
            yield run
    elif row.kind == FOREIGN:
        yield functools.partial(suite.run_once, row)
    else:
        command = row.command(settings)
        command[0] = str(directory / command[0])
        yield functools.partial(run_once, command, whole_process=row.whole_process)

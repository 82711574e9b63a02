"""Foreign benchmark programs: --suite DIR, and the list of commands in it."""

import argparse
import os
import pathlib
import re
import shlex

from .rows import FOREIGN, Row
from .whole import Process, expect_allocator

LIST_NAME = "commands.txt"
# What a chart, a CSV and --programs take without quoting.
NAME = re.compile(r"[A-Za-z0-9_.+:/=-]+")


def row_of(folder, line, names):
    """The row of a line; ValueError says what is wrong with it."""
    words = shlex.split(line.decode("utf-8"), comments=True)
    if not words:
        return None
    name, *command = words
    if not NAME.fullmatch(name):
        raise ValueError(f"'{name}' is no name: letters, digits and _.+:/=- are")
    if name in names:
        raise ValueError(f"there is a '{name}' already")
    if not command:
        raise ValueError(f"'{name}' has no command")
    path = folder / command[0]
    if not path.is_file():
        raise ValueError(f"there is no file '{path}'")
    if not os.access(path, os.X_OK):
        raise ValueError(f"'{path}' is not executable")
    return Row((str(path), *command[1:]), 0, kind=FOREIGN, timed="whole process", name=name,
               folder=str(folder))


def rows_in(text):
    """The rows that a directory holds; the type of an argument of argparse."""
    folder = pathlib.Path(text).resolve()
    listing = pathlib.Path(text, LIST_NAME)
    try:
        lines = listing.read_bytes().split(b"\n")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{listing}: {error.strerror}") from error
    rows = {}
    for number, line in enumerate(lines, 1):
        try:
            row = row_of(folder, line, rows)
        except ValueError as error:
            said = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise argparse.ArgumentTypeError(f"{listing}:{number}: {said}") from error
        if row:
            rows[row.name] = row
    if not rows:
        raise argparse.ArgumentTypeError(f"{listing}:{len(lines)}: the list ends without a command")
    return list(rows.values())


def run_once(row, library):
    """One run. A command may be many processes, whose memory is added up while they run."""
    process = Process(list(row.words), library, row.folder)
    sample, _, served_by = process.finish(samples_tree=True)
    expect_allocator(served_by, library)
    return sample

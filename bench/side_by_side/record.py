"""The file of every single run: written, and read again by a later scripts/bench that goes on.

A row that is there need not be measured again, as far as it was with the same files, as often. In
memory a record is row to allocator to (digest of its file, samples).
"""

import csv
import hashlib
import os
import platform

from .runs import RunError

# What the columns in front of a run's values say.
COLUMNS = ["row", "allocator", "file", "run"]


def digest_of(library):
    """Of a library, the beginning of its sha256; of none, the version of the C library."""
    if not library:
        return " ".join(platform.libc_ver())
    return hashlib.sha256(library.read_bytes()).hexdigest()[:16]


def note(record, row, results, allocators):
    """Puts a row's results into the record, in the place of what was there of it."""
    record[row] = {name: (digest_of(allocators[name]), samples)
                   for name, samples in results.items() if isinstance(samples, list)}


def write_record(path, record):
    """One line a run, so that any other statistic can be made of it. Whoever reads meanwhile finds
    the file before or the file after."""
    samples = [([row, name, digest, number], sample) for row, results in record.items()
               for name, (digest, list_of) in results.items()
               for number, sample in enumerate(list_of)]
    keys = sorted({key for _, sample in samples for key in sample})
    fresh = path.with_name(path.name + ".new")
    with open(fresh, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*COLUMNS, *keys])
        for columns, sample in samples:
            values = (float(sample[key]) if key in sample else "" for key in keys)
            writer.writerow([*columns, *values])
    os.replace(fresh, path)


def read_record(path):
    """Raises RunError for a file that is none of ours."""
    record = {}
    with open(path, newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if reader.fieldnames is None:
            return record
        if reader.fieldnames[:len(COLUMNS)] != COLUMNS:
            raise RunError(f"{path} has no runs that could be gone on with")
        for line in reader:
            try:
                sample = {key: float(value) for key, value in line.items()
                          if key not in COLUMNS and value != ""}
            except (TypeError, ValueError) as error:
                raise RunError(f"{path}:{reader.line_num}: {error}") from error
            of_row = record.setdefault(line["row"], {})
            of_row.setdefault(line["allocator"], (line["file"], []))[1].append(sample)
    return record


def recorded(record, row, allocators, settings):
    """The row's results where the record has all of them, and by these files; else None."""
    results, known = {}, record.get(row.title(settings), {})
    for name, library in allocators.items():
        digest, samples = known.get(name, (None, []))
        if digest != digest_of(library) or len(samples) != row.runs_of(name, settings):
            return None
        results[name] = samples
    return results

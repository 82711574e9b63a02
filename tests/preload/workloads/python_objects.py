"""Objects by the million: dicts, lists, strings, JSON and sorting, and a checksum over all of it.

The amount of work is the argument. Numbers come from a generator of our own, so that the checksum
is the same in every version of Python. With PYTHONMALLOC=malloc each object is a malloc.
"""

import hashlib
import json
import re
import sys


def numbers(seed):
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        yield seed >> 33


def records(count, stream):
    for index in range(count):
        value = next(stream)
        yield {
            "id": index,
            "name": f"user-{value % 100003}",
            "tags": [f"t{value >> shift & 63}" for shift in range(value % 7)],
            "note": "x" * (value % 311),
            "at": {"x": value % 997, "y": value / 8},
        }


def main():
    rounds, count = int(sys.argv[1]), int(sys.argv[2])
    digest = hashlib.sha256()
    kept = {}
    for turn in range(rounds):
        stream = numbers(turn + 1)
        rows = list(records(count, stream))
        rows.sort(key=lambda row: (row["name"], row["id"]))
        text = json.dumps(rows)
        again = json.loads(text)
        if again != rows:
            sys.exit("what JSON gave back is not what it was given")

        by_name = {}
        for row in again:
            by_name.setdefault(row["name"], []).append(row)
        words = re.split(r'[",:{}\[\] ]+', text)
        counts = {}
        for word in words:
            counts[word] = counts.get(word, 0) + 1
        top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:1000]

        # Some of each round outlives it, so that later rounds allocate between old objects.
        for name, group in by_name.items():
            if next(stream) % 8 == 0:
                kept[turn, name] = group
        for key in [key for key in kept if key[0] < turn - 1]:
            del kept[key]

        digest.update(text.encode())
        digest.update(repr(top).encode())
        digest.update(repr(sorted((key, len(group)) for key, group in kept.items())).encode())
        print(turn, len(text), len(by_name), len(words), len(kept))
    print(digest.hexdigest())


main()

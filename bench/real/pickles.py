#!/usr/bin/python3
"""pickles.py ROUNDS: graphs of objects that are packed into bytes and unpacked again.

Blocks of a few bytes beside buffers of many KiB that grow. Prints a sum over the bytes.
"""

import pickle
import random
import sys
import zlib


class Entry:
    def __init__(self, number, tags):
        self.number, self.tags, self.next = number, tags, None


def graph(draw, size):
    entries = [Entry(i, {f"tag{draw.randrange(500)}": (i, float(i)) for _ in range(3)})
               for i in range(size)]
    for entry in entries:
        entry.next = entries[draw.randrange(size)] if draw.random() < 0.1 else None
    return entries


def main(rounds):
    draw = random.Random(42)
    shelf, total = {}, 0
    for number in range(rounds):
        packed = pickle.dumps(graph(draw, draw.randrange(50, 3000)), protocol=2 + number % 4)
        total = zlib.crc32(packed, total)
        shelf[number % 23] = pickle.loads(packed)
        shelf[draw.randrange(23)] = packed
        total += sum(len(entry.tags) for part in shelf.values() if isinstance(part, list)
                     for entry in part[::50])
    print("sum", total, "shelf", len(shelf))


if __name__ == "__main__":
    main(int(sys.argv[1]))

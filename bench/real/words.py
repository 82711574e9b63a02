#!/usr/bin/python3
"""words.py ROUNDS: text that is split, searched, replaced, counted and joined.

Strings of all lengths, and dictionaries that grow. Prints what was counted.
"""

import collections
import random
import re
import sys
import zlib

PAIRS = re.compile(r"\b(\w+ing|\w*[aeiou]{2}\w*)\s+(\w{4,})\b")


def main(rounds):
    draw = random.Random(42)
    lexicon = ["".join(draw.choices("aeioubcdfgnst", k=draw.randint(2, 11))) +
               draw.choice(["", "ing", "s", "ed"]) for _ in range(5000)]
    counts, places, total = collections.Counter(), {}, 0
    for number in range(rounds):
        text = " ".join(draw.choices(lexicon, k=2000))
        changed = PAIRS.sub(lambda found: found[2].upper() + "-" + found[1], text)
        words = changed.lower().replace("-", " ").split()
        counts.update(words)
        for place, word in enumerate(words):
            places.setdefault(word[:5], []).append(place)
        if number % 10 == 9:
            places.clear()
        lines = [" ".join(words[start:start + 12]).title() for start in range(0, len(words), 12)]
        total = zlib.crc32("\n".join(sorted(lines)).encode(), total)
    print("crc", total, "words", len(counts), "most", counts.most_common(3))


if __name__ == "__main__":
    main(int(sys.argv[1]))

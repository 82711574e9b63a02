#!/usr/bin/python3
"""documents.py ROUNDS: nested documents that are written as JSON, read, and changed.

What a web service does with each request. Prints sums over the documents' texts.
"""

import json
import random
import sys
import zlib


def document(draw, depth):
    if depth == 0:
        return draw.choice([draw.randrange(10 ** 9), draw.random(), None, True,
                            "x" * draw.randrange(60), "\u00e4\u6587" * draw.randrange(20)])
    if draw.random() < 0.5:
        return [document(draw, depth - 1) for _ in range(draw.randrange(1, 7))]
    return {f"key{draw.randrange(1000)}": document(draw, depth - 1)
            for _ in range(draw.randrange(1, 7))}


def main(rounds):
    draw = random.Random(42)
    texts, total = [], 0
    for number in range(rounds):
        text = json.dumps({"id": number, "body": [document(draw, 4) for _ in range(8)]},
                          indent=number % 2 or None)
        texts.append(text)
        again = json.loads(texts[draw.randrange(len(texts))])
        again["seen"] = number
        total = zlib.crc32(json.dumps(again, sort_keys=True).encode(), total)
        if len(texts) > 200:
            texts.pop(draw.randrange(len(texts)))
    print("crc", total, "kept", sum(map(len, texts)))


if __name__ == "__main__":
    main(int(sys.argv[1]))

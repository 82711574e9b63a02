#!/usr/bin/python3
"""How much of libhak was run: gcovr --json | report.py PERCENT_MIN [--missed]

Prints a line for each file, the least covered first, and their sum; with --missed each line that
was not run as well. Ends with 1 where the sum is below PERCENT_MIN.
"""

import json
import sys


def counted(file):
    return [line for line in file["lines"] if not line["gcovr/noncode"]]


def share(covered, total):
    return 100 * covered / total


def main(percent_min, missed):
    files = [file for file in json.load(sys.stdin)["files"] if counted(file)]
    rows = []
    for file in files:
        total = len(counted(file))
        rows.append((sum(line["count"] > 0 for line in counted(file)), total, file["file"]))
    for covered, total, name in sorted(rows, key=lambda row: (share(row[0], row[1]), row[2])):
        print(f"{share(covered, total):6.1f} %  {covered:4} of {total:4}  {name}")
    covered, total = sum(row[0] for row in rows), sum(row[1] for row in rows)
    if total == 0:
        sys.exit("nothing was counted")
    if missed:
        for file in files:
            text = open(file["file"]).read().splitlines()
            for line in counted(file):
                if line["count"] == 0:
                    number = line["line_number"]
                    print(f"{file['file']}:{number}: {text[number - 1].strip()}")
    print(f"libhak: {share(covered, total):.1f} % of {total} lines, {percent_min} % at least")
    return 1 if share(covered, total) < percent_min else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), "--missed" in sys.argv[2:]))

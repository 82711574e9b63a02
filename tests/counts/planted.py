#!/usr/bin/python3
"""That the guards see a change: usage: planted.py BUILD SLOWER_LIBRARY

Goal    a guard that passes whatever happens is worse than none.
Method  guard.py looks at a library that is slower, the secure build; then at libhak beside a table
        with rows too many and too few, which it renews; then beside new tables whose numbers are
        changed, so that libhak is 2 % or 4 % slower or faster, 14 % larger or smaller. Each time
        its status and its words must be right.
"""

import pathlib
import subprocess
import sys
import tempfile

import callgrind
import guard
import table


def look(build, tables, *arguments):
    """(exit status, output) of the guard."""
    done = subprocess.run([guard.HERE / "guard.py", "--build", build, "--tables", tables,
                           *arguments], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=100, check=False)
    if done.returncode == callgrind.EXIT_SKIPPED:
        print(done.stdout, end="")
        sys.exit(callgrind.EXIT_SKIPPED)
    return done.returncode, done.stdout


def expect(what, looked, status, *words):
    missing = [word for word in words if word not in looked[1]]
    if looked[0] != status or missing:
        sys.exit(f"{what}: status {looked[0]}, not {status}, or without {missing}:\n{looked[1]}")
    print(f"{what}: as it must be")


def check_rows(build, directory):
    path = pathlib.Path(directory, "instructions.table")
    path.write_text("# of life\nlife/process 1\nlife/nothing 5\nother/row 7\n", "ascii")
    expect("rows that are not the same", look(build, directory, "life"), 1,
           "is not in the table", "is no longer measured", "slower")
    expect("a renewal", look(build, directory, "--renew", "life"), 0)
    text = path.read_text("ascii")
    if "nothing" in text or "other/row" not in text or not text.startswith("# of life\n"):
        sys.exit(f"a renewed table is not as it must be:\n{text}")


def check_band(build, directory, name, group, cases):
    """The table is new. cases: (percent by which libhak is to be above it, word of the sentence, or
    None where it must pass)."""
    path = pathlib.Path(directory, name)
    fresh = table.Table(path, 0).numbers
    for percent, word in cases:
        rows = (f"{row} {number / (1 + percent / 100)}\n" for row, number in fresh.items())
        path.write_text("".join(rows), "ascii")
        expect(f"{group} by {percent} %", look(build, directory, group), 1 if word else 0,
               *([word] if word else []))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    build, slower = sys.argv[1:]
    callgrind.require()
    expect("a slower library", look(build, guard.HERE, "--library", slower, "hit_path"), 1,
           "slower", "may take 18 at most")
    with tempfile.TemporaryDirectory() as directory:
        pathlib.Path(directory, "bytes.table").touch()
        check_rows(build, directory)
        check_band(build, directory, "instructions.table", "life",
                   [(2, None), (-2, None), (4, "slower"), (-4, "faster: renew the table")])
        expect("a renewal of memory", look(build, directory, "--renew", "memory"), 0)
        check_band(build, directory, "bytes.table", "memory",
                   [(14, "larger"), (-14, "smaller: renew the table")])


if __name__ == "__main__":
    main()

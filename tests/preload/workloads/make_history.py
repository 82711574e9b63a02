"""Writes a git fast-import stream of COMMITS commits over a tree of text files to stdout.

Each commit rewrites a few lines of a few files, as people do, so that repacking finds deltas.
Names, dates and texts follow from the commit's number alone.
"""

import sys


def numbers(seed):
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        yield seed >> 33


def main():
    commits, files = int(sys.argv[1]), int(sys.argv[2])
    stream = numbers(7)
    trees = [[f"line {n} of file {index}: {next(stream):x}" for n in range(120)]
             for index in range(files)]
    out = sys.stdout.buffer
    for commit in range(commits):
        if commit == 0:
            changed = range(files)
        else:
            changed = sorted({next(stream) % files for _ in range(3)})
        message = f"change {commit}\n\nfiles: {len(changed)}\n".encode()
        out.write(b"commit refs/heads/main\nmark :%d\n" % (commit + 1))
        seconds = 1700000000 + 60 * commit
        out.write(b"committer A U Thor <author@example.org> %d +0000\n" % seconds)
        out.write(b"data %d\n%s" % (len(message), message))
        if commit:
            out.write(b"from :%d\n" % commit)
        for index in changed:
            lines = trees[index]
            for _ in range(4):
                lines[next(stream) % len(lines)] = f"commit {commit}: {next(stream):x}"
            text = "\n".join(lines).encode() + b"\n"
            out.write(b"M 100644 inline src/part%d/file%d.txt\n" % (index % 16, index))
            out.write(b"data %d\n%s\n" % (len(text), text))


main()

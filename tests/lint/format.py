#!/usr/bin/python3
"""C files are as clang-format would write them: usage: format.py ROOT CLANG_FORMAT

Versions of clang-format differ in details, so the tests name the one that counts. Without it the
test is skipped (77): it would say nothing about the tree.
"""

import os
import pathlib
import subprocess
import sys

import tree

SKIPPED = 77


def main(root, clang_format):
    if not os.path.isabs(clang_format):
        print("clang-format-14 is not installed")
        return SKIPPED
    names = [root / name for name in tree.files(root) if name.endswith((".c", ".h"))]
    return subprocess.run([clang_format, "--dry-run", "-Werror", "--style=file", *names]).returncode


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2]))

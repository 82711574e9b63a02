#!/usr/bin/python3
"""Sizes of files, functions and lines, and words that promise work: usage: sizes.py ROOT

Goal    a file is one sitting, a function one screen, and what is in the tree is finished.
Method  C, Python, shell and CMake files are counted line by line. A function reaches from its
        opening brace, in column 0 or at the end of its header, to the next brace in column 0.
"""

import pathlib
import re
import sys

import tree

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
TAB_COLUMNS = 8

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
UNFINISHED_EXEMPT = "tests/lint/"  # these files name the words in order to ban them

C_SUFFIXES = (".c", ".h")
SUFFIXES = C_SUFFIXES + (".def", ".py", ".sh", ".cmake", ".cpp")
SCRIPT_FOLDERS = ("scripts", ".ci")

# The end of a definition's header that has its brace on the same line: the line may be the whole
# header or the last of several, all but the first of which are indented.
HEADER_END = re.compile(r".*\) \{$")


def is_counted(name):
    path = pathlib.PurePosixPath(name)
    return (path.suffix in SUFFIXES or path.name == "CMakeLists.txt"
            or (path.parts[0] in SCRIPT_FOLDERS and path.suffix == ""))


def long_functions(name, lines):
    opened = None  # the line number of the brace that opened the present function
    statement = ""  # the last line that began in column 0
    for number, line in enumerate(lines, 1):
        if line[:1] not in ("", " ", "\t"):
            statement = line
        if opened is None:
            # An initializer's brace follows a = sign, a type's no bracket.
            header_ends = HEADER_END.match(line) and not statement.startswith(("#", "}"))
            if line == "{" or (header_ends and (line == statement or "(" in statement)):
                opened = number
        elif line.startswith("}"):
            length = number - opened + 1
            if length > FUNCTION_LINES_MAX:
                yield (f"{name}:{opened}: function of {length} lines, "
                       f"{FUNCTION_LINES_MAX} at most")
            opened = None


def check_file(root, name):
    lines = (root / name).read_text().splitlines()
    if len(lines) > FILE_LINES_MAX:
        yield f"{name}: file of {len(lines)} lines, {FILE_LINES_MAX} at most"
    for number, line in enumerate(lines, 1):
        columns = len(line.expandtabs(TAB_COLUMNS))
        if columns > COLUMNS_MAX:
            yield f"{name}:{number}: line of {columns} columns, {COLUMNS_MAX} at most"
        unfinished = UNFINISHED.search(line)
        if unfinished and not name.startswith(UNFINISHED_EXEMPT):
            yield f"{name}:{number}: {unfinished[0]} marks unfinished work"
    if name.endswith(C_SUFFIXES):
        yield from long_functions(name, lines)


def main(root):
    names = [name for name in tree.files(root) if is_counted(name)]
    if not names:
        sys.exit(f"{root} has no file to count")
    return tree.finish([text for name in names for text in check_file(root, name)])


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))

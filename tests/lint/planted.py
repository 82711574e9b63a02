#!/usr/bin/python3
"""Each lint finds what it is there to find: usage: planted.py LINT ROOT [TOOL...]

Goal    a lint that never fails proves nothing.
Method  for each case of LINT (include_ladder, sizes, exports, format) a violation is planted in a
        temporary copy of the tree, or in a small library built for it. The lint must then fail
        with exactly 1 and say the words that go with the violation. The tools are those that the
        lint itself takes; for exports they are NM, READELF and the C compiler.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def plant(copy, file, text):
    """Plants text at the end of a file of the copy, which is made if it is not there."""
    path = copy / file
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as opened:
        opened.write(text)


INCLUDE_LADDER_CASES = [
    ("libhak/base/os.c", '#include "heap/slab.h"\n', "an include upwards"),
    ("libhak/govern/stats.c", '#include "calls/malloc.h"\n', "an include sideways"),
    ("libhak/base/config.h", '#include "base/size_class.h"\n', "which stands above it"),
    ("libhak/base/os.c", '#include "../heap/slab.h"\n', "which has no place on the ladder"),
    ("libhak/heap/slab.c", '#include <base/os.h>\n', "a file of the project, as the system's"),
    ("libhak/heap/slab.c", '#include "hak/hak.h"\n', "write <hak/hak.h>"),
    ("libhak/heap/slab.c", '#include <hak/secret.h>\n', "is the only public header"),
    ("libhak/heap/slab.c", '#include NAME\n', "is a macro"),
    ("libhak/heap/planted.c", "", "planted.c: has no place on the ladder"),
    ("libhak/planted/slab.h", "", "slab.h: has no place on the ladder"),
]

SIZES_CASES = [
    ("libhak/planted.c", "int x;\n" * 601, "file of 601 lines"),
    ("libhak/planted.c", "\n\nint f(void)\n{\n" + "\tx();\n" * 69 + "}\n",
     ":4: function of 71 lines"),
    ("libhak/planted.c", "int f(void) {\n" + "\tx();\n" * 69 + "}\n", ":1: function of 71 lines"),
    ("libhak/planted.c", "int f(int a,\n      int b) {\n" + "\tx();\n" * 69 + "}\n",
     ":2: function of 71 lines"),
    ("libhak/planted.c", "\t/*" + "x" * 91 + "*/\n", "line of 103 columns"),
    ("scripts/planted", "#" * 101 + "\n", "line of 101 columns"),
    ("libhak/planted.h", "/* TODO: later */\n", "TODO marks unfinished work"),
    ("cmake/planted.cmake", "# FIXME\n", "FIXME marks unfinished work"),
    ("tests/planted.py", "# XXX\n", "XXX marks unfinished work"),
    ("scripts/planted", "# a HACK\n", "HACK marks unfinished work"),
]

FORMAT_CASES = [
    ("libhak/planted.c", "int f( void );\n", "code should be clang-formatted"),
]

EXPORTS_SOURCE = """
#include <math.h>
_Thread_local char tls[2048];
double extra(double x) { return sin(x) + tls[(int)x]; }
void *malloc(unsigned long bytes) { (void)bytes; return 0; }
"""
EXPORTS_MAP = "PLANTED_1 { global: malloc; tls; extra; local: *; };\n"
EXPORTS_WORDS = [
    "extra is exported but not listed",
    "free is listed but not exported",
    "malloc has the version PLANTED_1 and not none",
    "libm.so.6 is needed",
    "the TLS segment has 2048 bytes",
]


def lint_says(name, *arguments):
    """The lint's exit status and everything that it printed."""
    run = subprocess.run([HERE / f"{name}.py", *arguments], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    return run.returncode, run.stdout


def judge(case, status, said, words):
    """What is wrong with a lint's answer to a case, as a list of at most one sentence."""
    if status != 1:
        return [f"{case}: the lint ended with {status} instead of 1:\n{said}"]
    if words not in said:
        return [f"{case}: the lint did not say '{words}' but:\n{said}"]
    return []


def check_trees(name, root, cases, arguments):
    complaints = []
    for number, (file, text, words) in enumerate(cases):
        with tempfile.TemporaryDirectory(prefix="hak-planted-") as folder:
            copy = pathlib.Path(folder)
            shutil.copytree(root / "libhak", copy / "libhak")
            shutil.copy(root / ".clang-format", copy)
            plant(copy, file, text)
            status, said = lint_says(name, copy, *arguments)
        # The sentence must be about the planted file: the copy may have flaws of its own.
        about = "\n".join(line for line in said.splitlines() if file in line)
        complaints += judge(f"case {number}, {file}", status, about, words)
    return complaints


def check_exports(nm, readelf, compiler):
    with tempfile.TemporaryDirectory(prefix="hak-planted-") as folder:
        source, version_map, library = (pathlib.Path(folder) / name
                                        for name in ("planted.c", "planted.map", "planted.so"))
        source.write_text(EXPORTS_SOURCE)
        version_map.write_text(EXPORTS_MAP)
        subprocess.run([compiler, "-shared", "-fPIC", "-fno-builtin", "-o", library, source,
                        f"-Wl,--version-script={version_map}", "-lm"], check=True)
        status, said = lint_says("exports", library, HERE / "symbols.txt", nm, readelf)
    return [text for words in EXPORTS_WORDS
            for text in judge("the planted library", status, said, words)]


def main(name, root, *tools):
    if name == "exports":
        complaints = check_exports(*tools)
    elif name == "include_ladder":
        complaints = check_trees(name, root, INCLUDE_LADDER_CASES, [HERE / "ladder.txt"])
    elif name == "sizes":
        complaints = check_trees(name, root, SIZES_CASES, [])
    elif not pathlib.Path(tools[0]).is_absolute():
        return lint_says(name, root, *tools)[0]  # the lint says that it is skipped
    else:
        complaints = check_trees(name, root, FORMAT_CASES, tools)
    print("\n".join(complaints))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], pathlib.Path(sys.argv[2]), *sys.argv[3:]))

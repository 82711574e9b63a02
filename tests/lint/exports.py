#!/usr/bin/python3
"""What libhak.so shows, needs and takes: usage: exports.py LIBRARY SYMBOLS NM READELF

Goal    a preloaded library meets every other library of a process: a name too many hides somebody
        else's, a name too few splits the heap in two, a version where there must be none makes
        the loader pass a name over for everybody who asks for malloc@GLIBC_2.2.5, a library
        that libhak needs may call malloc before it is ready, and a large TLS segment makes
        dlopen fail.
Method  nm and readelf (binutils) say what the finished file has; SYMBOLS says what it should have.
"""

import os
import pathlib
import re
import subprocess
import sys

import tree

NEEDED_ALLOWED = re.compile(r"libc\.so\.6|ld-linux.*\.so\.\d+")
# glibc keeps 1,664 bytes for all libraries together that come by dlopen; this is our share.
TLS_BYTES_MAX = 1024


def output_of(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True,
                          env={**os.environ, "LC_ALL": "C"}).stdout


def check_symbols(library, listed, nm):
    exported = {}  # name: its version, "" for none
    for line in output_of(nm, "-D", "--defined-only", "--with-symbol-versions",
                          library).splitlines():
        name, _, version = line.split()[-1].partition("@")
        exported[name] = version.lstrip("@")
    wanted = dict(line.partition("@")[::2] for line in listed)
    for name in sorted(exported.keys() - wanted.keys()):
        yield f"{name} is exported but not listed"
    for name in sorted(wanted.keys() - exported.keys()):
        yield f"{name} is listed but not exported"
    for name in sorted(wanted.keys() & exported.keys()):
        if exported[name] != wanted[name]:
            yield (f"{name} has the version {exported[name] or 'none'} and not "
                   f"{wanted[name] or 'none'}, so the loader passes over it")


def check_needed(library, readelf):
    for name in re.findall(r"\(NEEDED\).*\[(.*)\]", output_of(readelf, "-dW", library)):
        if not NEEDED_ALLOWED.fullmatch(name):
            yield f"{name} is needed; libhak stands on libc alone"


def check_tls(library, readelf):
    for line in output_of(readelf, "-lW", library).splitlines():
        fields = line.split()
        if fields[:1] == ["TLS"]:
            tls_bytes = int(fields[5], 16)  # the size in memory
            if tls_bytes > TLS_BYTES_MAX:
                yield f"the TLS segment has {tls_bytes} bytes, {TLS_BYTES_MAX} at most"


def main(library, symbols_path, nm, readelf):
    lines = (line.partition("#")[0].strip() for line in symbols_path.read_text().splitlines())
    listed = {line for line in lines if line}
    return tree.finish([*check_symbols(library, listed, nm), *check_needed(library, readelf),
                        *check_tls(library, readelf)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], pathlib.Path(sys.argv[2]), *sys.argv[3:5]))

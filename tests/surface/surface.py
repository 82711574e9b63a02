#!/usr/bin/python3
"""The whole surface of malloc under preload: surface.py CASE LIBRARY FOLDER

Goal    a program cannot tell libhak from the C library by any call of malloc's family: errno,
        refusals, alignments, resizing, trims, counts; what is printed is well-formed. Where a tool
        replaces malloc itself, or HAK_DISABLE=1 says so, libhak stands aside and says why.
Method  FOLDER holds the programs surface, aside, aside_asan and the library interposer; each case
        runs one of them with LIBRARY preloaded. What glibc promises too is run under glibc first.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree


def run(command, *preloaded, status=0, **variables):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HAK_")}
    if preloaded:
        environment["LD_PRELOAD"] = " ".join(preloaded)
    done = subprocess.run(command, env={**environment, **variables}, text=True, timeout=100,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == status, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
    return done


class Cases:
    def __init__(self, library, folder):
        self.library = library
        self.surface = os.path.join(folder, "surface_surface")
        self.aside = os.path.join(folder, "surface_aside")
        self.aside_asan = os.path.join(folder, "surface_aside_asan")
        self.interposer = os.path.join(folder, "libsurface_interposer.so")
        self.placement_program = os.path.join(folder, "surface_placement")
        self.json_program = os.path.join(folder, "surface_json")

    def both(self, name):
        run([self.surface, name])
        said = run([self.surface, name], self.library)
        assert said.stderr == "", said.stderr

    def errors(self):
        self.both("errors")

    def alignments(self):
        self.both("alignments")

    def options(self):
        self.both("options")

    def other_names(self):
        self.both("other_names")

    # What glibc does not promise, or does not keep.
    def resizing(self):
        run([self.surface, "resizing"], self.library)

    def waste(self):
        run([self.surface, "waste"], self.library)

    def trims(self):
        run([self.surface, "trims"], self.library)

    def counts(self):
        run([self.surface, "counts"], self.library)

    def info(self):
        text = run([self.surface, "info"], self.library).stdout
        root = xml.etree.ElementTree.fromstring(text)
        assert root.tag == "malloc" and root.get("version") == "1"
        heap = root.find("heap")
        # 12,345 bytes are in use, so the class before and behind it may be free: all sums hold.
        for holder in (heap, root):
            kinds = {total.get("type"): total for total in holder.findall("total")}
            assert {"fast", "rest"} <= kinds.keys(), text
        sizes = heap.find("sizes").findall("size")
        for size in sizes:
            assert int(size.get("total")) == int(size.get("count")) * int(size.get("to"))
            assert int(size.get("from")) <= int(size.get("to"))
        free = next(total for total in heap.findall("total") if total.get("type") == "rest")
        assert sum(int(size.get("count")) for size in sizes) == int(free.get("count")) > 300, text
        assert sum(int(size.get("total")) for size in sizes) <= int(free.get("size")), text
        current = heap.find("system").get("size")
        assert int(current) >= 12345, text

    def json(self):
        text = run([self.json_program], self.library).stdout
        stats = json.loads(text)
        assert stats["live_bytes"] >= 100 * 5000 and stats["huge_count"] == 1, text
        rows = {row["block_bytes"]: row for row in stats["classes"]}
        assert rows[5120]["live_count"] == 100, text
        assert sum(row["live_count"] * row["block_bytes"] for row in stats["classes"]) \
            <= stats["live_bytes"], text

    def stats(self):
        said = run([self.surface, "stats"], self.library)
        assert re.match(r"hak: surface_surface\[\d+\] MiB: live 0\.\d\d", said.stderr), said.stderr
        assert len(said.stderr.splitlines()) >= 3

    def container(self):
        """A control group of 128 MiB: a thirty-second of that may be kept mapped, not 64 MiB."""
        group = "/sys/fs/cgroup/memory/hak-surface" if os.path.isdir("/sys/fs/cgroup/memory") \
            else "/sys/fs/cgroup/hak-surface"
        limit = "memory.limit_in_bytes" if "/memory/" in group else "memory.max"
        try:
            os.mkdir(group)
            with open(f"{group}/{limit}", "w", encoding="ascii") as file:
                file.write(str(128 << 20))
        except OSError as error:
            print("no control group can be made here:", error)
            sys.exit(77)
        try:
            enter = f"echo $$ > {group}/cgroup.procs && exec {self.surface} keeps"
            kept = int(run(["/bin/sh", "-c", enter], self.library).stdout)
            assert kept <= 5 << 20, kept
            assert int(run([self.surface, "keeps"], self.library).stdout) >= 30 << 20
        finally:
            os.rmdir(group)

    def placement(self):
        """In the secure build no run places blocks as another did, nor the last freed first."""
        first, second = (run([self.placement_program], self.library).stdout.splitlines()
                         for _ in range(2))
        assert first[0] != second[0]
        assert first[0].split() != sorted(first[0].split(), key=int)
        assert int(first[1]) < 10, first[1]
        # Nor do the first ones lie at the beginning of their slab.
        highest = [max(map(int, run([self.placement_program], self.library).stdout.split()[:4]))
                   for _ in range(4)]
        assert max(highest) > 80 * 40, highest

    def interposed(self):
        """Somebody else's malloc in front, which goes on to ours."""
        for command in ([self.surface, "alignments"], ["/usr/bin/perl", "-e", "print 'x' x 9"]):
            said = run(command, self.interposer, self.library)
            malloc_count, free_count = map(int, re.findall(r"\d+", said.stderr))
            assert malloc_count > 100 or free_count > 100, said.stderr
        assert "ours" in run([self.aside], self.interposer, self.library).stdout

    def help(self):
        said = run(["/bin/true"], self.library, HAK_HELP="1").stderr
        assert "HAK_MISUSE=abort    (abort or report)" in said, said
        assert all(len(line) < 240 for line in said.splitlines())

    def disabled(self):
        assert run([self.aside], self.library).stdout == "ours\n"
        said = run([self.aside], self.library, HAK_DISABLE="1")
        assert (said.stdout, said.stderr) == ("theirs\n", ""), said
        for name in ("errors", "alignments", "options", "other_names", "info", "any"):
            assert run([self.surface, name], self.library, HAK_DISABLE="1").stderr == ""
        said = run([self.surface, "stats"], self.library, HAK_DISABLE="1").stderr
        assert "Arena 0:" in said, said
        run(["/usr/bin/python3", "-c", "import json, threading; print(json.dumps([1] * 9999))"],
            self.library, HAK_DISABLE="1")

    def address_sanitizer(self):
        """Its run-time library stands first in the list, as it wants to; or behind us."""
        asan = subprocess.run(["cc", "-print-file-name=libasan.so"], text=True, check=True,
                              stdout=subprocess.PIPE).stdout.strip()
        asan = os.path.realpath(asan)
        line = (r"hak: surface_aside_asan\[\d+\] AddressSanitizer replaces malloc in this "
                r"process; libhak stands aside\n")
        for preloaded, options in (((asan, self.library), ""),
                                   ((self.library,), "verify_asan_link_order=0")):
            said = run([self.aside_asan], *preloaded,
                       ASAN_OPTIONS="detect_leaks=0:" + options)
            assert said.stdout == "theirs\n" and re.fullmatch(line, said.stderr), said

    def valgrind(self):
        """memcheck replaces malloc; callgrind and cachegrind do not; helgrind need not."""
        valgrind = shutil.which("valgrind")
        assert valgrind is not None, "valgrind is not installed"
        quiet = [valgrind, "-q", "--trace-children=no"]
        said = run([*quiet, "--tool=memcheck", "--error-exitcode=9", self.aside], self.library)
        assert said.stdout == "theirs\n", said
        assert "valgrind replaces malloc in this process; libhak stands aside" in said.stderr, said
        for tool in ("callgrind", "cachegrind"):
            said = run([*quiet, f"--tool={tool}", f"--{tool}-out-file=/dev/null", self.aside],
                       self.library)
            assert said.stdout == "ours\n", said
        said = run([*quiet, "--tool=helgrind", "--soname-synonyms=somalloc=nouserintercepts",
                    self.aside], self.library)
        assert said.stdout == "ours\n", said


if __name__ == "__main__":
    getattr(Cases(sys.argv[2], sys.argv[3]), sys.argv[1])()

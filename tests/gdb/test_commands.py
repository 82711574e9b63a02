"""`hak heap` and `hak block` of scripts/gdb/hak.py.

Goal    they tell the truth about every kind of address, of a core by gcore, of a core by the
        kernel and of a live process, and say in a sentence why they cannot.
Method  a program that prints what it did with each address (program.c) and what hak_stats_get()
        says of its heap, beside what gdb says; then processes and files that something is wrong
        with.
"""

import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import Gdb

# What program.c did, in the words of the command; {NAME} is what it printed under that name.
EXPECTED = {
    "live": "a block of 112 bytes, live",
    "interior": "byte 7 of {live}, a block of 112 bytes, live",
    "behind": "behind the last block of the slab of 112 bytes at 0x[0-9a-f]+000",
    "magazine": r"a block of 224 bytes, free in the magazine of thread \d+ \(LWP {pid}\)",
    "other_magazine":
        r"a block of 1536 bytes, free in the magazine of thread \d+ \(LWP {other_tid}\)",
    "depot": "a block of 3072 bytes, free in the depot",
    "slab": "a block of 5120 bytes, free in its slab",
    "run": "a run of 114688 bytes, live",
    "run_interior": "byte 70000 of {run}, a run of 114688 bytes, live",
    "freed_run": r"in a free unit of SuperSlab \d+: no block is there",
    "huge": "a huge block of 3145728 bytes, live",
    "huge_interior": "byte 1000001 of {huge}, a huge block of 3145728 bytes, live",
    "cached": "byte 8 of 0x[0-9a-f]+, a cached mapping of 5242880 bytes, free",
    "stack": "not libhak's",
    "static": "not libhak's",
}

# The same for what has no address that a program could know.
EXPRESSIONS = {
    "0": "not libhak's",
    "(char *)hak_region.base - 1": "libhak's own: the class bytes",
    "hak_region.class_of_unit - 1": "libhak's own: the slab descriptors",
    "hak_region.meta_end - 1": "libhak's own: records, magazines, depots and entries",
    "hak_region.base + hak_region.superslab_count_max * hak_layout.superslab_bytes - 1":
        "in libhak's region, where nothing was ever allocated",
}


def blocks_are_told(gdb, program):
    names = list(EXPECTED)
    answers = gdb.run(*(f"hak block {program.said[name]}" for name in names))
    for name, answer in zip(names, answers):
        address = program.said[name]
        expected = EXPECTED[name].format(pid=program.pid, **program.said)
        assert re.fullmatch(f"{address}: {expected}", answer), f"{name}: {answer}"
    answers = gdb.run(*(f"hak block {expression}" for expression in EXPRESSIONS))
    for expected, answer in zip(EXPRESSIONS.values(), answers):
        assert answer.endswith(f": {expected}"), answer


def numbers_of(pattern, text):
    found = re.search(pattern, text, re.MULTILINE)
    assert found, f"no {pattern} in\n{text}"
    return [int(number) for number in found.groups()]


def heap_is_told(gdb, program):
    heap, = gdb.run("hak heap")
    live, cached, huge, huge_cached, superslabs = map(int, program.said["stats"])
    assert numbers_of(r"^total: live (\d+), cached (\d+), free \d+ bytes$", heap) == [live, cached]
    assert numbers_of(r"^huge blocks: (\d+) of (\d+) bytes$", heap) == [1, huge]
    assert numbers_of(r"^cached mappings: (\d+) of (\d+) bytes$", heap) == [1, huge_cached]
    used, empty, _ = numbers_of(r"^SuperSlabs: (\d+) in use, (\d+) empty, (\d+) returned$", heap)
    assert empty > 0 and used + empty == superslabs
    # No run but ours, no other block of these classes.
    assert numbers_of(r"^runs: (\d+) of (\d+) bytes$", heap) == [1, 114688]
    block, slabs, blocks, alive, magazines, depot, free = numbers_of(
        r"^ +(3072)" + r" +(\d+)" * 6 + "$", heap)
    assert (block, slabs, alive) == (3072, 1, 0) and magazines > 0 and depot > 0
    assert magazines + depot + free == blocks
    assert re.search(rf"^  thread \d+ \(LWP {program.said['other_tid']}\): .*\b1536: [1-9]", heap,
                     re.MULTILINE), heap
    assert "threads: 2 of 2 records in use, 0 inside a slow path" in heap


def test_core_of_gcore(start):
    program = start("blocks")
    gdb = Gdb(program.path, program.gcore())
    blocks_are_told(gdb, program)
    heap_is_told(gdb, program)


def test_core_of_the_kernel(start):
    program = start("blocks")
    gdb = Gdb(program.path, program.kernel_core())
    blocks_are_told(gdb, program)
    heap_is_told(gdb, program)


def test_live_process(start):
    program = start("blocks")
    gdb = Gdb("-p", program.pid)
    blocks_are_told(gdb, program)
    heap_is_told(gdb, program)


def test_static_program(start, option):
    """The program's own variables are not taken for libhak's of the same names."""
    program = start("blocks", program=option("--static-program"), library=None)
    gdb = Gdb(program.path, program.gcore())
    blocks_are_told(gdb, program)
    heap_is_told(gdb, program)


def test_gdb_loads_it_by_itself(start, option, tmp_path):
    """As from /usr: gdb is told that its own prefix is the one that hak is installed under."""
    prefix = tmp_path / "prefix"
    subprocess.run([option("--cmake"), "--install", option("--build"), "--prefix", prefix,
                    "--component", "lib"], check=True, stdout=subprocess.DEVNULL)
    library, = (path for path in prefix.rglob("libhak.so.*.*.*") if path.suffix != ".py")
    program = start("blocks", library=library)
    done = subprocess.run(
        ["gdb", "-nx", "-batch", "-iex", f"set auto-load safe-path {prefix}",
         "-iex", f"set auto-load scripts-directory {prefix / 'share/gdb/auto-load'}",
         "-ex", f"hak block {program.said['live']}", program.path, program.gcore()],
        text=True, timeout=60, capture_output=True, check=False)
    assert f"{program.said['live']}: a block of 112 bytes, live\n" in done.stdout, done
    assert (prefix / "share/hak/gdb/hak.py").exists()


def test_nothing_to_look_at(option):
    for command in ("hak heap", "hak block 0"):
        answer, = Gdb(option("--program")).run(command)
        assert answer == "hak: there is no process and no core file to look at"


def test_no_libhak(start):
    program = start("live", "1", "0", "now", library=None)
    answer, = Gdb(program.path, program.gcore()).run("hak heap")
    assert answer == "hak: libhak is not in this process, or its file was not found by gdb"


def test_no_debug_symbols(start, option, tmp_path):
    stripped = tmp_path / "libhak.so"
    shutil.copy(option("--library"), stripped)
    subprocess.run(["strip", "--strip-all", stripped], check=True)
    program = start("live", "1", "0", "now", library=stripped)
    answer, = Gdb(program.path, program.gcore()).run("hak heap")
    assert answer == f"hak: {stripped} has no debug symbols: hak_region is not known"


def test_not_born(option):
    *_, answer = Gdb(option("--program")).run(
        f"set environment LD_PRELOAD {option('--library')}", "set breakpoint pending on",
        "break hak_region_init", "run blocks", "hak heap")
    assert answer == ("hak: the heap of this process is not born: "
                      "nothing was allocated from it yet")


def test_core_without_memory(start, option):
    """As coredump_filter may have it, see core(5). Of a static program, since without memory gdb
    finds no libraries."""
    program = start("blocks", program=option("--static-program"), library=None)
    pathlib.Path(f"/proc/{program.pid}/coredump_filter").write_text("0", "ascii")
    answer, = Gdb(program.path, program.gcore()).run("hak heap")
    assert answer.startswith("hak: memory that libhak keeps its books in cannot be read, "
                             "the core file does not have it (Cannot access memory at address ")


@pytest.mark.parametrize("command, sentence", [
    ("hak heap now", "hak: usage: hak heap"),
    ("hak block", "hak: usage: hak block ADDR"),
    ("hak block nobody", 'hak: nobody is no address: No symbol "nobody" in current context.'),
    ("hak block *(struct hak_slab *)hak_region.slab_descriptors",
     "hak: *(struct hak_slab *)hak_region.slab_descriptors is no address: "),
])
def test_wrong_arguments(start, command, sentence):
    program = start("live", "1", "0", "now")
    answer, = Gdb("-p", program.pid).run(command)
    assert answer.startswith(sentence)

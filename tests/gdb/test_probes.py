"""The static probes, and the frames that whoever stops at one can walk.

Goal    the library has the probes of the manual's table, with as many arguments, and no others;
        each fires where it says so; frames are chained by the frame pointer, as perf and bpftrace
        walk them.
Method  `readelf -n` beside the table; a program that goes by every slow path under gdb, with a
        breakpoint at each probe and a real hakd that has it register and trim; at a probe, the
        chain of frame pointers beside what gdb unwinds by debug information.
"""

import re
import subprocess
import textwrap
import time

import pytest

from conftest import Gdb


@pytest.fixture
def table(option):
    """The manual's: name to number of arguments."""
    text = option("--manual").read_text("ascii")
    rows = re.findall(r"^\|  (\w+)\n:  (.*)$", text.split("# PROBES")[1].split("\n# ")[0],
                      re.MULTILINE)
    return {name: len(arguments.split(", ")) for name, arguments in rows}


def test_probes_are_those_of_the_manual(option, table):
    notes = subprocess.run(["readelf", "-n", option("--library")], text=True, check=True,
                           stdout=subprocess.PIPE).stdout
    found = {}
    for name, arguments in re.findall(
            r"Provider: hak\n +Name: (\w+)\n.*\n +Arguments: ?(.*)", notes):
        bytes_each = re.findall(r"(-?\d+)@", arguments)
        found.setdefault(name, set()).add(len(bytes_each))
        assert set(bytes_each) <= {"4", "8"}, "gdb 13 does not know names such as r12b"
    assert found == {name: {count} for name, count in table.items()}


# A breakpoint that never stops, at each probe; the counts are printed where the program ends.
COUNTING = """
import gdb
class Counted(gdb.Breakpoint):
    def __init__(self, name):
        super().__init__("-probe-stap hak:" + name)
        self.name, self.count = name, 0
    def stop(self):
        self.count += 1
        self.first = int(gdb.parse_and_eval("$_probe_arg0"))
        return False
counted = [Counted(name) for name in {names}]
def show(event):
    for probe in counted:
        print("fired", probe.name, probe.count, getattr(probe, "first", None))
gdb.events.exited.connect(show)
gdb.execute("continue")
"""


def test_each_probe_fires(option, table, tmp_path):
    daemon = subprocess.Popen([option("--hakd"), "--runtime-dir", tmp_path])
    try:
        script = tmp_path / "counting.py"
        script.write_text(COUNTING.format(names=list(table)), "ascii")
        done = under_gdb(option, script, tmp_path)
    finally:
        daemon.terminate()
        daemon.wait(10)
    fired = dict(re.findall(r"^fired (\w+) (\d+) ", done, re.MULTILINE))
    assert set(fired) == set(table), done
    assert [name for name, count in fired.items() if count == "0"] == [], done
    # An argument that is known: malloc(1 << 46).
    assert f" {1 << 46}\n" in done[done.index("fired out_of_memory"):]


def under_gdb(option, script, folder):
    """Runs the program under gdb while hakctl asks it for its memory; then its input ends."""
    line = ["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off",
            "-ex", f"set environment LD_PRELOAD {option('--library')}",
            "-ex", f"set environment HAK_SOCKET {folder / 'client'}",
            "-ex", "set environment HAK_REGISTER yes",
            "-ex", "set startup-with-shell off", "-ex", "break main", "-ex", "run probes",
            "-ex", f"source {script}", option("--program")]
    gdb = subprocess.Popen(line, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 60
        while not trimmed(option, folder) and time.monotonic() < end:
            assert gdb.poll() is None, gdb.stdout.read()
            time.sleep(0.5)
        return gdb.communicate(timeout=60)[0]
    finally:
        gdb.kill()
        gdb.wait()


def trimmed(option, folder):
    """True where the program has registered, and has done a trim."""
    listed = subprocess.run(["curl", "-s", "--unix-socket", folder / "control",
                             "http://hak/v1/clients"],
                            text=True, stdout=subprocess.PIPE, check=False)
    pids = re.findall(r'"pid": ?(\d+)', listed.stdout)
    return any(subprocess.run([option("--hakctl"), "trim", pid, "--runtime-dir", folder],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False).returncode == 0 for pid in pids)


# Return addresses by rbp, and by gdb's own unwinder, as far as main. A function that calls nobody
# may have no frame: who stops there misses the one that called it, and no more.
WALKING = """
import gdb
def real(frame):
    made_up = frame.type() in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME)
    return real(frame.older()) if made_up else frame
frame, pointer = real(gdb.newest_frame()), int(gdb.parse_and_eval("(unsigned long)$rbp"))
unwound, chained = [], []
while frame.name() != "main":
    frame = real(frame.older())
    unwound.append(frame.pc())
while len(chained) < len(unwound) and unwound[-1] not in chained:
    words = gdb.selected_inferior().read_memory(pointer, 16).cast("Q")
    pointer, address = words
    chained.append(address)
print("frames", len(chained), chained in (unwound, unwound[1:]))
"""


@pytest.mark.parametrize("probe", ["refill", "flush", "slab_take", "huge_map", "superslab_open",
                                   "out_of_memory"])
def test_frames_are_chained(option, tmp_path, probe):
    script = tmp_path / "walking.py"
    script.write_text(textwrap.dedent(WALKING), "ascii")
    *_, answer = Gdb(option("--program")).run(
        f"set environment LD_PRELOAD {option('--library')}", "break main", "run probes",
        f"break -probe-stap hak:{probe}", "continue", f"source {script}")
    found = re.search(r"frames (\d+) (\w+)$", answer)
    assert found, answer
    assert int(found[1]) >= 2 and found[2] == "True", answer

#!/usr/bin/python3
"""usage: attach.py LIBRARY|- PROGRAM CASE [AMOUNT]

Goal    a process tells a daemon of its heap, truly, once, and without harm to anything that it
        does; and it does what the daemon asks for.
Method  a scripted daemon on a socket of its own takes the page of PROGRAM, which runs under LIBRARY
        (tests/attach/program.c says what each CASE does there), and reads it as the bytes that
        proto/README.md describes. hakd itself is in tests/daemon; here the other side may be late,
        dead or mad.
"""

import os
import resource
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time

HELLO = struct.Struct("<8sHHIQQQ256s")
MIB = 1 << 20
TELEMETRY, ROWS, ROW_BYTES = 4096, 8192, 128
SEEN, EPOCH, TRIM_REQUEST = 8, 16, 40
HEADER = ("sequence", "version", "metric_count", "class_count", "pid", "updated_ns", "started_ns",
          "trim_ack", "trim_before", "trim_after", "trim_released")
METRICS = ("live", "cached", "free", "lazyfree", "metadata", "huge", "superslabs", "peak", "opened",
           "returned", "trims", "publications")


class Page:
    def __init__(self, fd, hello, pid):
        self.fd, self.hello, self.pid = fd, hello, pid

    def word(self, offset):
        return struct.unpack("<Q", os.pread(self.fd, 8, offset))[0]

    def put(self, offset, number):
        os.pwrite(self.fd, struct.pack("<Q", number), offset)

    def part(self, offset, word_count):
        """The words of one part, read while nobody writes there."""
        end = time.monotonic() + 10  # a thread that writes may be off its processor for long
        while time.monotonic() < end:
            before = self.word(offset)
            words = struct.unpack(f"<{word_count}Q", os.pread(self.fd, 8 * word_count, offset))
            if before % 2 == 0 and before == words[0] == self.word(offset):
                return words
            time.sleep(0)
        raise AssertionError(f"the part at {offset} never stands still")

    def telemetry(self):
        """Header and metrics by name."""
        words = self.part(TELEMETRY, 384)
        told = dict(zip(HEADER, words))
        told.update(zip(METRICS, words[16:]))
        told["classes"] = [words[128 + 4 * i:132 + 4 * i] for i in range(told["class_count"])]
        return told

    def superslabs(self):
        """(used, free) as sets of units for every SuperSlab that was opened."""
        rows = []
        for i in range(self.hello[3]):
            words = self.part(ROWS + ROW_BYTES * i, 5)
            if words[0] == 0:
                break
            rows.append((words[1] | words[2] << 64, words[3] | words[4] << 64))
        return rows

    def ask_trim(self):
        self.put(0, 1)
        self.put(TRIM_REQUEST, self.word(TRIM_REQUEST) + 1)
        self.put(EPOCH, self.word(EPOCH) + 1)
        self.put(0, 2)


class Daemon:
    """The daemon's side of the socket."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen(16)

    def accept(self, seconds=10.0):
        """The next page, or None where nobody comes."""
        if not select.select([self.listener], [], [], seconds)[0]:
            return None
        connection, _ = self.listener.accept()
        with connection:
            pid = struct.unpack("3i", connection.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            message, fds, _, _ = socket.recv_fds(connection, 512, 8)
        assert len(message) == HELLO.size, message
        hello = HELLO.unpack(message)
        assert hello[:3] == (b"hakHELLO", 1, HELLO.size), hello
        assert len(fds) == 1, fds
        size = os.fstat(fds[0]).st_size
        assert size == (ROWS + ROW_BYTES * hello[3] + 65535) & ~65535, size
        return Page(fds[0], hello, pid)

    def end(self):
        self.listener.close()
        os.unlink(self.path)


class Program:
    def __init__(self, library, command, socket_path, **variables):
        environment = dict(os.environ, HAK_SOCKET=socket_path, **variables)
        if library is not None:
            environment["LD_PRELOAD"] = library
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=environment, text=True)

    def hears(self, words):
        line = self.process.stdout.readline()
        assert line == words + "\n", f"expected '{words}', the program says: {line!r}"

    def go(self):
        self.process.stdin.write("on\n")
        self.process.stdin.flush()

    def ends(self):
        rest, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, f"status {self.process.returncode}: {rest}"


def resident(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def vm_flags(pid, name):
    """The kernel's flags of the mapping of that name, as in proc(5), smaps."""
    with open(f"/proc/{pid}/smaps", encoding="ascii") as smaps:
        of_it = False
        for line in smaps:
            if line.startswith("VmFlags:") and of_it:
                return line.split()[1:]
            of_it = name in line if "-" in line.split()[0] else of_it
    raise AssertionError(f"{name} is not mapped")


def nearly(told, true, threads):
    """1 %, the caps of all magazines, and 1 MiB."""
    magazines = threads * 56 * (64 << 10)
    assert abs(told - true) <= true / 100 + magazines + MIB, \
        f"told {told / MIB:.1f} MiB, true {true / MIB:.1f} MiB"


class Cases:
    def __init__(self, library, program, folder, amount=""):
        self.library, self.program, self.amount = library, program, amount
        self.socket = os.path.join(folder, "client")

    def run(self, case, **variables):
        return Program(self.library, [self.program, case], self.socket, **variables)

    def short_commands(self):
        """ls, true and a shell's children come and go untold."""
        daemon = Daemon(self.socket)
        script = "for i in 1 2 3 4 5; do ls / >/dev/null; true; env true; done"
        program = Program(self.library, ["/bin/sh", "-c", script], self.socket)
        program.ends()
        assert daemon.accept(0.2) is None

    def holds(self):
        """What is held is what is told, while the program stands still."""
        for case, threads in (("holds", 1), ("holds_in_threads", 8)):
            daemon = Daemon(self.socket)
            program = self.run(case)
            page = daemon.accept()
            assert page.pid == program.process.pid
            assert page.hello[7].rstrip(b"\0") == os.readlink(b"/proc/%d/exe" % page.pid)
            program.hears("held")
            told = page.telemetry()
            assert told["pid"] == page.pid
            blocks = 256 * MIB // 1000
            nearly(told["live"], blocks * (1024 + 8 * (threads == 1)), threads)
            self.agrees(page, told)
            total = sum(told[state] for state in ("live", "cached", "free", "metadata"))
            there = resident(page.pid)
            assert abs(total - there) < there / 20, f"told {total}, resident {there}"
            assert daemon.accept(0) is None
            assert "dd" in vm_flags(page.pid, "/memfd:hak"), "core dumps have the shared page"
            program.go()
            program.ends()
            daemon.end()

    @staticmethod
    def agrees(page, told):
        """The table of SuperSlabs and the classes say the same as the sums."""
        rows = page.superslabs()
        used = sum(bin(row[0]).count("1") for row in rows) << 14
        free = sum(bin(row[1]).count("1") for row in rows) << 14
        assert all(row[0] & row[1] == 0 for row in rows)
        assert 0 <= len(rows) - told["peak"] <= 1  # opened since it was told
        in_slabs = sum(row[0] * row[2] for row in told["classes"][1:])
        assert in_slabs <= used and used + free <= len(rows) << 21
        taken = sum(row[0] * row[3] for row in told["classes"][1:])
        assert abs(taken + told["huge"] - told["live"] - told["cached"]) <= used - in_slabs + MIB

    def is_trimmed(self):
        """What is free goes back, what is held stays as it is, and the page tells both."""
        daemon = Daemon(self.socket)
        program = self.run("is_trimmed")
        page = daemon.accept()
        program.hears("freed")
        before = resident(page.pid)
        page.ask_trim()
        program.go()
        program.hears("went on")
        told = page.telemetry()
        assert told["trim_ack"] == 1 and told["trims"] == 1
        released = told["trim_before"] - told["trim_after"]
        assert abs(told["trim_released"] - released) < MIB
        assert told["returned"] >= told["trim_released"] > 64 * MIB
        assert before - resident(page.pid) > released * 0.9 - 4 * MIB, \
            f"{before} to {resident(page.pid)}, told {released}"
        program.go()
        program.ends()

    def forks(self):
        """A child is a process of its own: its page is new, and its parent's is not touched."""
        daemon = Daemon(self.socket)
        program = self.run("forks")
        page = daemon.accept()
        program.hears("held")
        told, rows = page.telemetry(), page.superslabs()
        program.go()
        child = int(program.process.stdout.readline())
        childs = daemon.accept()
        assert childs.pid == child
        time.sleep(0.3)
        assert childs.telemetry()["pid"] == child
        assert childs.telemetry()["live"] > told["live"] + 30 * MIB
        now = page.telemetry()
        assert now["pid"] == page.pid and now["live"] < told["live"] + MIB
        assert page.superslabs() == rows
        program.go()
        program.ends()

    def clones(self):
        """The same for a child that the C library knows nothing of."""
        daemon = Daemon(self.socket)
        program = self.run("clones")
        page = daemon.accept()
        program.hears("held")
        told, rows = page.telemetry(), page.superslabs()
        program.go()
        program.hears("cloned")
        assert page.superslabs() == rows
        now = page.telemetry()
        assert now["pid"] == page.pid and now["live"] < told["live"] + MIB
        program.go()
        program.ends()

    def vforks(self):
        """A child that borrows its parent's memory does not register that as its own."""
        daemon = Daemon(self.socket)
        program = self.run("vforks")
        page = daemon.accept()
        program.hears("held")
        assert page.pid == program.process.pid
        program.go()
        program.ends()

    def keeps_no_descriptor(self):
        daemon = Daemon(self.socket)
        program = self.run("keeps_no_descriptor")
        page = daemon.accept()
        program.hears("held")
        first = page.telemetry()["publications"]
        assert first > 1
        program.go()
        program.ends()

    def has_no_descriptors(self):
        """Nothing while there are none; then the page comes."""
        daemon = Daemon(self.socket)
        program = self.run("has_no_descriptors")
        program.hears("limited")
        assert daemon.accept(0) is None
        assert daemon.accept(8) is not None
        program.go()
        program.ends()

    def has_closed_standard_descriptors(self):
        daemon = Daemon(self.socket)
        program = self.run("has_closed_standard_descriptors")
        assert daemon.accept() is not None
        program.hears("held")
        program.go()
        program.ends()

    def silence(self):
        """Where telling could do harm, or was forbidden, there is silence."""
        daemon = Daemon(self.socket)
        for case in ("is_in_a_chroot", "may_write_small_files", "is_filtered",
                     "is_filtered_strictly"):
            if case == "is_in_a_chroot" and os.geteuid() != 0:
                continue
            self.run(case).ends()
            assert daemon.accept(0) is None, case
        program = self.run("keeps_no_descriptor", HAK_REGISTER="0")
        program.hears("held")
        assert daemon.accept(0) is None
        program.go()
        program.ends()

    def outlives_daemons(self):
        """The first daemon dies; the next one hears of the program within 10 s."""
        daemon = Daemon(self.socket)
        program = self.run("outlives_daemons")
        page = daemon.accept()
        program.hears("held")
        for count in range(1, 4):
            page.put(SEEN, count)
            time.sleep(0.5)
        daemon.end()
        time.sleep(1)
        daemon = Daemon(self.socket)
        again = daemon.accept(10)
        assert again is not None and again.pid == page.pid
        assert len(again.superslabs()) == len(page.superslabs())
        assert again.telemetry()["live"] > 15 * MIB
        program.ends()

    def deaf_daemon(self):
        """A daemon that accepts nobody: its queue is full, and nobody waits."""
        daemon = Daemon(self.socket)
        daemon.listener.listen(0)
        waiting = []
        for _ in range(4):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            client.setblocking(False)
            waiting.append(client)
            if client.connect_ex(self.socket) != 0:
                break
        begin = time.monotonic()
        self.run("may_write_small_files").ends()
        program = self.run("is_trimmed")
        program.hears("freed")
        assert time.monotonic() - begin < 10
        program.go()
        program.hears("went on")
        program.go()
        program.ends()

    def registration_cost(self):
        """Under 100 us, once: the longest malloc of a process that registers, less that of one that
        does not, each in the best of several processes: what is longer was the scheduler's."""
        daemon = Daemon(self.socket)
        longest = {"1": [], "0": []}
        for register in list(longest) * 40:
            program = self.run("is_timed", HAK_REGISTER=register)
            longest[register].append(int(program.process.stdout.readline()) / 1000)
            program.ends()
            page = daemon.accept(1 if register == "1" else 0)
            assert (page is not None) == (register == "1")
        cost = min(longest["1"]) - min(longest["0"])
        print(f"{cost:.0f} us: the longest malloc took {min(longest['1']):.0f} us with a "
              f"registration, {min(longest['0']):.0f} us without")
        assert cost < 100

    def agent_under_stress(self):
        """The same beside an agent."""
        self.under_stress(HAK_AGENT="1", HAK_DECAY="100")

    def under_stress(self, **variables):
        """The stress test of many threads, which checks every byte, while trims are asked for."""
        daemon = Daemon(self.socket)
        program = Program(None, [self.program, "4", self.amount, "11"], self.socket, **variables)
        page = daemon.accept(60)
        assert page is not None
        count = 0
        while program.process.poll() is None:
            count += 1
            page.put(SEEN, count)
            page.ask_trim()
            page.superslabs()
            told = page.telemetry()
            time.sleep(0.02)
        program.ends()
        assert told["trims"] >= 3, told["trims"]

    def half_written(self):
        """What stands in the mailbox while the daemon writes it is not heard."""
        daemon = Daemon(self.socket)
        program = self.run("outlives_daemons")
        page = daemon.accept()
        program.hears("held")
        page.put(0, 1)
        page.put(TRIM_REQUEST, 1)
        page.put(EPOCH, 1)
        time.sleep(0.5)
        assert page.telemetry()["trim_ack"] == 0
        page.put(0, 2)
        end = time.monotonic() + 5
        while page.telemetry()["trim_ack"] != 1:
            assert time.monotonic() < end, "not heard when it was whole"
            time.sleep(0.01)
        program.process.kill()
        program.process.wait()

    def mad_daemon_with_agent(self):
        """The same beside an agent, to whom it may have said all the time that there is news."""
        self.mad_daemon(HAK_AGENT="1")

    def mad_daemon(self, **variables):
        """Whatever stands in the mailbox, the program goes on."""
        daemon = Daemon(self.socket)
        program = self.run("is_trimmed", **variables)
        page = daemon.accept()
        program.hears("freed")
        program.go()
        end = time.monotonic() + 0.8
        while time.monotonic() < end:
            os.pwrite(page.fd, os.urandom(4096), 0)
        os.pwrite(page.fd, b"\xff" * 4096, 0)
        program.hears("went on")
        program.go()
        program.ends()


def main(library, program, case, amount=""):
    with tempfile.TemporaryDirectory() as folder:
        getattr(Cases(library, program, folder, amount), case)()


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/python3
"""usage: fleet.py LIBRARY HAKD HOLDER STATIC CASE

Goal    what hakd says of real processes on libhak is true, costs next to nothing, and harms none.
Method  a hakd of its own in a temporary folder; programs with LIBRARY preloaded (holder.c, and real
        ones); the answers of the control socket beside what the program and the kernel know.
"""

import http.client
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
MEMORY = "/sys/fs/cgroup/memory"


class Control(http.client.HTTPConnection):
    """HTTP on hakd's unix socket."""

    def __init__(self, path):
        super().__init__("hak", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


class Fleet:
    def __init__(self, library, hakd, folder, *options):
        self.folder = folder
        self.environment = dict(os.environ, LD_PRELOAD=library, PYTHONMALLOC="malloc",
                                HAK_SOCKET=f"{folder}/client")
        self.hakd = subprocess.Popen([hakd, "--runtime-dir", folder, "--config-dir",
                                      f"{folder}/etc", *options], stderr=subprocess.DEVNULL)
        # A file is not enough: who finds nobody at the other socket comes back in minutes.
        self.wait_for("hakd answers", self.answers)

    def answers(self):
        assert self.hakd.poll() is None, "hakd has ended"
        try:
            return self.ask("/-/healthy") == "ok\n"
        except OSError:
            return False

    def ask(self, path):
        control = Control(f"{self.folder}/control")
        control.request("GET", path)
        answer = control.getresponse()
        body = answer.read().decode()
        control.close()
        assert answer.status == 200, f"{path}: {answer.status} {body}"
        return body

    def clients(self):
        return {client["pid"]: client for client in json.loads(self.ask("/v1/clients"))["clients"]}

    def wait_for(self, what, condition, seconds=10):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"after {seconds} s: {what}"
            time.sleep(0.1)

    def run(self, *command):
        return subprocess.Popen(command, env=self.environment, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)

    def end(self):
        self.hakd.terminate()
        assert self.hakd.wait(10) == 0


def lines_until_ready(program):
    lines = []
    for line in program.stdout:
        if line == "ready\n":
            return lines
        lines.append(line.strip())
    raise AssertionError(f"the program ended, it said {lines}")


def go(program):
    program.stdin.write("on\n")
    program.stdin.flush()


def end_all(programs):
    for program in programs:
        program.stdin.close()
    for program in programs:
        assert program.wait(30) == 0


def heap_resident(pid):
    """Rss less LazyFree of a process's private anonymous memory, stacks aside: what a malloc has,
    and some pages of the libraries' own data."""
    total, counted = 0, False
    with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as smaps:
        for line in smaps:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                fields = line.split()
                counted = fields[1].endswith("p") and len(fields) == 5
            elif counted and line.startswith("Rss:"):
                total += int(line.split()[1]) << 10
            elif counted and line.startswith("LazyFree:"):
                total -= int(line.split()[1]) << 10
    return total


class Cases:
    def __init__(self, fleet, holder, static):
        self.fleet, self.holder, self.static = fleet, holder, static

    def live(self):
        """Known sets: within 1 %, the caps of the magazines, and 1 MiB."""
        for threads in (1, 8):
            program = self.fleet.run(self.holder, "live", "256", str(threads))
            held = int(lines_until_ready(program)[-1])
            time.sleep(0.15)  # numbers may be a tenth of a second old
            told = self.fleet.clients()[program.pid]["metrics"]["live_bytes"]
            print(f"{threads} threads: {held / MIB:.2f} MiB held, {told / MIB:.2f} MiB told")
            # The threads have ended: their magazines are given back, main's are left.
            assert abs(told - held) <= held / 100 + 56 * (64 << 10) + MIB
            end_all([program])

    def smaps(self):
        """All that is told against what the kernel counts, within 5 %, on five real programs."""
        python = "import sys; a = [{}]; print('ready', flush=True); sys.stdin.readline()"
        sqlite = ("create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 "
                  "from n where i < 400000) insert into t select i, hex(randomblob(60)) from n; "
                  "select 'ready';\n")
        perl = ("use strict; my %h; $h{$_} = 'x' x ($_ % 300) for 1 .. 200000; $| = 1; "
                "print \"ready\\n\"; <STDIN>;")
        programs = {
            "python3 lists": [sys.executable, "-c",
                              python.format("[i] * 9 for i in range(600000)")],
            "python3 bytes": [sys.executable, "-c",
                              python.format("bytes(i % 5000) for i in range(60000)")],
            "perl": ["perl", "-e", perl],
            "sqlite3": ["sqlite3", ":memory:"],
            "redis": ["redis-server", "--port", "0", "--save", "", "--dir", self.fleet.folder,
                      "--unixsocket", f"{self.fleet.folder}/redis"],
        }
        for name, command in programs.items():
            program = self.fleet.run(*command)
            try:
                if name == "sqlite3":
                    program.stdin.write(sqlite)
                    program.stdin.flush()
                if name == "redis":
                    self.fill_redis()
                else:
                    lines_until_ready(program)
                self.fleet.wait_for(f"{name} is listed",
                                    lambda: program.pid in self.fleet.clients())
                time.sleep(0.15)  # numbers may be a tenth of a second old, and it grew until now
                metrics = self.fleet.clients()[program.pid]["metrics"]
                there = heap_resident(program.pid)
                told = sum(metrics[f"{state}_bytes"]
                           for state in ("live", "cached", "free", "metadata"))
                print(f"{name:14} told {told / MIB:7.2f} MiB, resident {there / MIB:7.2f} MiB, "
                      f"{told / there - 1:+.1%}")
                assert there > 40 * MIB, "too small to tell"
                assert abs(told - there) <= there / 20
            finally:
                program.kill()
                program.wait()

    def fill_redis(self):
        path = f"{self.fleet.folder}/redis"
        self.fleet.wait_for("redis listens", lambda: os.path.exists(path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            stream = client.makefile("rwb")
            for first in range(0, 200000, 1000):
                for number in range(first, first + 1000):
                    value = b"%0*d" % (number % 600 + 10, number)
                    stream.write(b"*3\r\n$3\r\nSET\r\n$7\r\nk%06d\r\n$%d\r\n%s\r\n"
                                 % (number, len(value), value))
                stream.flush()
                for _ in range(1000):
                    stream.readline()

    def prefork(self):
        """A server and its 8 children are nine clients; those that ended are none."""
        program = self.fleet.run(self.holder, "prefork", "8")
        children = {int(line) for line in lines_until_ready(program)}
        assert len(children) == 8
        everybody = children | {program.pid}
        self.fleet.wait_for("all nine are listed",
                            lambda: everybody <= set(self.fleet.clients()), 5)
        self.fleet.wait_for("the children are gone",
                            lambda: set(self.fleet.clients()) == {program.pid}, 15)
        end_all([program])
        self.fleet.wait_for("nobody is left", lambda: not self.fleet.clients(), 5)

    def exec_static(self):
        """The pid lives on, the heap does not: it leaves the list."""
        program = self.fleet.run(self.holder, "exec", self.static)
        lines_until_ready(program)
        self.fleet.wait_for("it is listed", lambda: program.pid in self.fleet.clients(), 5)
        go(program)
        assert program.stdout.readline() == "static\n"
        self.fleet.wait_for("it is listed no more",
                            lambda: program.pid not in self.fleet.clients(), 14)
        end_all([program])

    def thousand(self):
        """1,000 processes: a scrape costs hakd 10 ms at most and wakes none of them."""
        count = 1000
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        programs = []
        try:
            for _ in range(count):
                programs.append(self.fleet.run(self.holder, "small"))
            for program in programs:
                lines_until_ready(program)
            self.fleet.wait_for(f"all {count} are listed",
                                lambda: len(self.fleet.clients()) == count, 30)
            time.sleep(2.5)  # a tick of hakd's own work is over
            switches, costs = self.switches(programs), []
            for _ in range(11):
                before = self.cpu_ns()
                text = self.fleet.ask("/metrics")
                costs.append((self.cpu_ns() - before) / 1e6)
                time.sleep(0.15)  # else the numbers are those of the last scrape
            assert f'hak_group_processes{{group="{os.path.basename(self.holder)}"}} {count}' in text
            assert self.switches(programs) == switches, "a client was woken"
            print(f"a scrape: {sorted(costs)[5]:.1f} ms of hakd's CPU in the median, "
                  f"{max(costs):.1f} at most")
            assert sorted(costs)[5] <= 10
        finally:
            for program in programs:
                program.kill()
            for program in programs:
                program.wait()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def squeeze(self):
        """A program that keeps 300 MiB free, and one that then takes 250, within 400 MiB: without
        hakd the kernel kills one of them, with it none, and nothing is taken that need not be."""
        if os.geteuid() != 0 or not os.path.exists(f"{MEMORY}/memory.limit_in_bytes"):
            sys.exit(77)
        assert self.squeezed({"HAK_SOCKET": "/nonexistent"}) > 0, "there was room for both"
        assert self.squeezed({}) == 0
        actions = json.loads(self.fleet.ask("/v1/actions"))["actions"]
        for action in reversed(actions):
            print(f"{action['trigger']} {action['level']}: {action['released_bytes'] / MIB:.0f} of "
                  f"{action['target_bytes'] / MIB:.0f} MiB in {action['duration_seconds']:.3f} s")
        released = sum(action["released_bytes"] for action in actions)
        assert 150 * MIB <= released <= 310 * MIB
        assert all(action["released_bytes"] <= action["target_bytes"] * 1.1 for action in actions)

    def squeezed(self, environment):
        """How many were killed."""
        folder = f"{MEMORY}/hak-fleet-{os.getpid()}"
        environment = {**self.fleet.environment, "HAK_LAZYFREE": "no", "HAK_DECAY": "86400000",
                       **environment}
        enter = f"echo $$ > {folder}/cgroup.procs && exec "
        late = (f"import mmap, time\nheld = mmap.mmap(-1, {250 * MIB})\n"
                f"for place in range(0, {250 * MIB}, {MIB}):\n"
                f"    for page in range(place, place + {MIB}, 4096): held[page] = 1\n"
                "    time.sleep(0.01)\n")
        os.mkdir(folder)
        with open(f"{folder}/memory.limit_in_bytes", "w", encoding="ascii") as limit:
            limit.write(str(400 * MIB))
        keeper = subprocess.Popen(["sh", "-c", f"{enter}{self.holder} keep 300"], env=environment,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            lines_until_ready(keeper)
            if environment["HAK_SOCKET"] != "/nonexistent":
                self.fleet.wait_for("its group is watched", self.is_watched)
            allocator = subprocess.run(["sh", "-c", f"{enter}{sys.executable} -c '{late}'"],
                                       check=False)
            return (allocator.returncode != 0) + (keeper.poll() is not None)
        finally:
            keeper.kill()
            keeper.wait()
            self.fleet.wait_for("the group is empty", lambda: self.removed(folder))

    def is_watched(self):
        return json.loads(self.fleet.ask("/v1/status"))["pressure"]["groups"]

    @staticmethod
    def removed(folder):
        try:
            os.rmdir(folder)
        except OSError:
            return False
        return True

    def cpu_ns(self):
        with open(f"/proc/{self.fleet.hakd.pid}/schedstat", encoding="ascii") as schedstat:
            return int(schedstat.read().split()[0])

    @staticmethod
    def switches(programs):
        total = 0
        for program in programs:
            with open(f"/proc/{program.pid}/status", encoding="ascii") as status:
                total += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", status.read())[1])
        return total


def main(library, hakd, holder, static, case):
    with tempfile.TemporaryDirectory(prefix="hak-fleet-") as folder:
        fleet = Fleet(library, hakd, folder)
        try:
            getattr(Cases(fleet, holder, static), case)()
            fleet.end()
        finally:
            fleet.hakd.kill()
            fleet.hakd.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

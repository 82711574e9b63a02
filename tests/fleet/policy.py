#!/usr/bin/python3
"""usage: policy.py LIBRARY HAKD PROGRAM CASE

Goal    policy is what real programs on libhak get, and only those that it is about: soon after they
        come, in full, and no longer than the daemon lives.
Method  a real hakd with a configuration of its own; PROGRAM (budget.c), python3 and redis-server,
        preloaded and with nothing else in their environment than the socket's path.
"""

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import fleet

MIB = fleet.MIB
# What may be above a hard budget: a SuperSlab, and what one thread's magazines hold.
OVERSHOOT = 2 * MIB + 56 * (64 << 10)


class Fleet(fleet.Fleet):
    def __init__(self, library, hakd, folder, text):
        os.mkdir(f"{folder}/etc")
        self.configure(folder, text)
        # Which program root's processes run it can only see while it keeps its capabilities.
        super().__init__(library, hakd, folder, "--remote-reclaim=no")

    @staticmethod
    def configure(folder, text):
        with open(f"{folder}/etc/hakd.conf", "w", encoding="ascii") as file:
            file.write(text)

    def post(self, path, body=None):
        control = fleet.Control(f"{self.folder}/control")
        control.request("POST", path, json.dumps(body) if body else None)
        answer = control.getresponse()
        body = json.loads(answer.read())
        control.close()
        return answer.status, body

    def used(self, pid):
        metrics = self.clients()[pid]["metrics"]
        return metrics["live_bytes"] + metrics["cached_bytes"]


def grow(hakd_fleet, program, most, size=3000):
    return hakd_fleet.run(program, "grow", str(most), str(size))


def heard(program):
    held, word = program.stdout.readline().split()
    return int(held), word


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        text = rollup.read()
    sizes = {name: int(size) << 10 for name, size in re.findall(r"(\w+): +(\d+) kB", text)}
    return sizes["Rss"] - sizes["LazyFree"]


class Cases:
    def __init__(self, library, hakd, program, folder):
        self.library, self.hakd, self.program, self.folder = library, hakd, program, folder
        self.fleet = None

    def start(self, text):
        self.fleet = Fleet(self.library, self.hakd, self.folder, text)
        return self.fleet

    def latency(self):
        """From the slow path that registers to the first that heeds its policy: 10 ms."""
        self.start("[policy all]\nhard = 1M\non-limit = fail\n")
        took = []
        for _ in range(31):
            program = self.fleet.run(self.program, "latency")
            took.append(int(program.communicate(timeout=30)[0]) / 1000)
            assert program.returncode == 0 and took[-1] >= 0, "it was never refused"
        print(f"policy after {statistics.median(took):.2f} ms in the median, "
              f"{max(took):.2f} ms at most")
        # Where others are at work the daemon waits for its turn; not always.
        assert statistics.median(took) <= 10

    def hard(self):
        """Who is over its budget is refused, and nobody else; a report refuses nobody."""
        self.start("[policy reported]\ncomm=reported\nhard = 64M\n"
                   "[policy greedy]\ncomm=budget\nhard = 64M\non-limit = fail\n")
        for size in (100, 3000, 100000, 3000000):
            greedy = grow(self.fleet, self.program, 200, size)
            held, word = heard(greedy)
            assert word == "refused" and held < 66 * MIB, (size, held, word)
            used = self.fleet.used(greedy.pid)
            print(f"blocks of {size}: {held / MIB:.1f} MiB held, {used / MIB:.2f} MiB used of 64")
            assert 64 * MIB - size - 4 * MIB < used <= 64 * MIB + OVERSHOOT
            greedy.stdin.close()
            assert greedy.wait(20) == 0
        shutil.copy(self.program, f"{self.folder}/reported")
        other = grow(self.fleet, f"{self.folder}/reported", 200)
        assert heard(other) == (200 * MIB // 3000 * 3000 + 3000, "held")
        self.fleet.wait_for("its excess is counted", lambda: self.fleet.clients()[other.pid][
            "metrics"]["budget_exceeded_total"] == 1 or not heard_again(other))
        metrics = self.fleet.clients()[other.pid]["metrics"]
        assert metrics["allocation_failure_total"] == 0
        text = self.fleet.ask("/metrics")
        assert int(re.search(r'hak_allocation_failures_total{group="budget"} (\d+)', text)[1]) > 0
        assert 'hak_allocation_failures_total{group="reported"} 0' in text
        other.stdin.close()
        assert other.wait(20) == 0

    def python(self):
        """A real program gets its MemoryError, lives on, and is given room by command."""
        self.start(f"[policy py]\nexe={os.path.realpath(sys.executable)}\nhard=150M\n"
                   "on-limit=fail\n")
        script = ("import sys, time\n"
                  "kept = [bytes(100000) for i in range(100)]\n"
                  "for i in range(40): bytes(100000); time.sleep(0.005)\n"
                  "def more():\n"
                  "    try:\n"
                  "        while len(kept) < 4000: kept.append(bytes(100000))\n"
                  "        print(len(kept), 'held', flush=True)\n"
                  "    except MemoryError:\n"
                  "        print(len(kept), 'refused', flush=True)\n"
                  "more()\n"
                  "for line in sys.stdin: more()\n")
        program = self.fleet.run(sys.executable, "-c", script)
        held, word = heard(program)
        print(f"python3 has a MemoryError at {held * 100000 / MIB:.0f} MiB")
        assert word == "refused" and 100 * MIB < held * 100000 < 150 * MIB
        assert self.fleet.post("/v1/budgets", {"pid": program.pid, "hard_bytes": 0})[0] == 200
        fleet.go(program)
        again = heard(program)
        assert again == (4000, "held"), again
        program.stdin.close()
        assert program.wait(20) == 0

    def group(self):
        """Members together stay below their group's budget, a tick aside."""
        self.start("[policy all]\ngroup=g\ngroup-hard=96M\non-limit=fail\n")
        programs = [grow(self.fleet, self.program, 20) for _ in range(3)]
        assert all(heard(program)[1] == "held" for program in programs)
        time.sleep(2.3)  # a tick
        words = []
        for _ in range(3):
            for program in programs:
                program.stdin.write("80\n")
                program.stdin.flush()
                words.append(heard(program)[1])
            time.sleep(2.1)
        clients = self.fleet.clients()
        used = sum(self.fleet.used(program.pid) for program in programs)
        budgets = [clients[program.pid]["hard_budget_bytes"] for program in programs]
        print(f"three together: {used / MIB:.1f} MiB used of 96, budgets "
              f"{[round(bytes / MIB, 1) for bytes in budgets]}")
        assert words == ["refused"] * 9
        assert sum(budgets) == 96 * MIB, budgets
        assert 80 * MIB < used <= 96 * MIB + 3 * OVERSHOOT
        fleet.end_all(programs)

    def soft(self):
        """What a program keeps by its policy goes when its budget is lowered by command."""
        self.start("[policy all]\ndecay=1h\n")
        path = f"{self.folder}/redis"
        # Else it would keep little without any policy.
        self.fleet.environment["HAK_LAZYFREE"] = "no"
        redis = self.fleet.run("redis-server", "--port", "0", "--save", "", "--dir", self.folder,
                               "--unixsocket", path, "--hz", "10", "--activedefrag", "no")
        try:
            fleet.Cases(self.fleet, None, None).fill_redis()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                stream = client.makefile("rwb")
                self.talk(stream, [b"*2\r\n$3\r\nDEL\r\n$7\r\nk%06d\r\n" % number
                                   for number in range(200000) if number % 20 != 0])
                for _ in range(30):
                    self.talk(stream, [b"*1\r\n$4\r\nPING\r\n"] * 100)
                    time.sleep(0.1)
                kept = resident(redis.pid)
                assert self.fleet.post("/v1/budgets", {"pid": redis.pid,
                                                       "soft_bytes": 4 * MIB})[0] == 200
                for _ in range(30):
                    self.talk(stream, [b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3000\r\n"
                                       + b"x" * 3000 + b"\r\n"] * 100)
                    time.sleep(0.1)
                left = resident(redis.pid)
            print(f"redis after 95 % were deleted: {kept / MIB:.1f} MiB resident, under a soft "
                  f"budget {left / MIB:.1f} MiB")
            assert left < kept * 0.8
        finally:
            redis.kill()
            redis.wait()

    @staticmethod
    def talk(stream, messages):
        for first in range(0, len(messages), 1000):
            stream.write(b"".join(messages[first:first + 1000]))
            stream.flush()
            for _ in messages[first:first + 1000]:
                stream.readline()

    def agent(self):
        """Programs that stand still: who may have an agent gives back, and trims at once."""
        self.start("[policy quick]\ncomm=quick\nagent=yes\n"
                   "[policy bell]\ncomm=bell\nagent=yes\ndecay=24h\n")
        self.fleet.environment["HAK_LAZYFREE"] = "no"
        quick, bell, other = (self.still(name) for name in ("quick", "bell", "other"))
        for program, count in ((quick, 1), (bell, 1), (other, 0)):
            assert self.fleet.clients()[program.pid]["metrics"]["agent_count"] == count
        self.fleet.wait_for("it gives back", lambda: resident(quick.pid) < 40 * MIB, 30)
        assert resident(bell.pid) > 100 * MIB and resident(other.pid) > 100 * MIB
        # By its clock alone it would look once in 5 s.
        begin = time.monotonic()
        for _ in range(10):
            status, answer = self.fleet.post(f"/v1/clients/{bell.pid}/trim", {"method": "mailbox"})
            assert status == 202, answer
            self.fleet.wait_for("it trims", lambda: self.fleet.clients()[bell.pid]["trim"]["ack"]
                                == answer["trim_request"], 30)
        took = time.monotonic() - begin
        print(f"ten trims of a program that stands still in {took:.1f} s")
        assert took < 25 and resident(bell.pid) < 40 * MIB
        self.rests_once_it_is_not_wanted()
        fleet.end_all([quick, bell, other])

    def rests_once_it_is_not_wanted(self):
        """The policy goes while the program is at work: its agent sleeps, and does not spin."""
        self.fleet.configure(self.folder, "[policy busy]\ncomm=busy\nagent=yes\n")
        assert self.fleet.post("/v1/reload")[0] == 200
        os.symlink(sys.executable, f"{self.folder}/busy")
        program = self.fleet.run(f"{self.folder}/busy", "-c", (
            "import sys, threading\n"
            "over = threading.Event()\n"
            "threading.Thread(target=lambda: (sys.stdin.readline(), over.set())).start()\n"
            "while not over.is_set(): kept = [bytes(4000) for _ in range(5000)]\n"
            "print('over', flush=True)\n"
            "sys.stdin.readline()\n"))
        self.fleet.wait_for("it has its agent", lambda: self.fleet.clients().get(
            program.pid, {"metrics": {"agent_count": 0}})["metrics"]["agent_count"] == 1, 30)
        self.fleet.configure(self.folder, "")
        assert self.fleet.post("/v1/reload")[0] == 200
        time.sleep(0.5)
        fleet.go(program)
        assert program.stdout.readline() == "over\n"
        before = cpu_seconds(program.pid)
        time.sleep(2)
        assert cpu_seconds(program.pid) - before < 0.5
        fleet.end_all([program])

    def pressure_socket(self):
        """A program that is no client and stands still hears of its group's pressure there."""
        if os.geteuid() != 0 or not os.path.exists(f"{fleet.MEMORY}/memory.limit_in_bytes"):
            sys.exit(77)
        self.start("")
        group = f"{fleet.MEMORY}/hak-policy-{os.getpid()}"
        os.mkdir(group)
        self.fleet.environment.update(HAK_LAZYFREE="no", HAK_DECAY="86400000", HAK_AGENT="1",
                                      HAK_SOCKET="/nonexistent",
                                      MEMORY_PRESSURE_WATCH=f"{self.folder}/pressure")
        script = ("kept = [bytes(4000) for _ in range(25000)]; del kept\n"
                  "print('ready', flush=True); input()\n")
        enter = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -c \"{script}\""
        program = self.fleet.run("sh", "-c", enter)
        try:
            fleet.lines_until_ready(program)
            time.sleep(1)
            with open(f"{group}/memory.stat", encoding="ascii") as stat:
                kept = int(re.search(r"^rss (\d+)$", stat.read(), re.MULTILINE)[1])
            assert kept > 90 * MIB
            # Pressure, and nothing that the kernel would kill for.
            with open(f"{group}/memory.limit_in_bytes", "w", encoding="ascii") as limit:
                limit.write(str(int(kept * 1.07)))
            self.fleet.wait_for("it gives back", lambda: resident(program.pid) < 40 * MIB, 30)
            assert not self.fleet.clients()
        finally:
            program.kill()
            program.wait()
            self.fleet.wait_for("the group is empty", lambda: fleet.Cases.removed(group))

    def still(self, name):
        """A program of that name that has heard its policy, then freed 120 MB, and stands still."""
        os.symlink(sys.executable, f"{self.folder}/{name}")
        script = ("import os, sys, time\n"
                  "def use(count): kept = [bytes(4000) for _ in range(count)]\n"
                  "for _ in range(400 if sys.argv[1] != 'other' else 20):\n"
                  "    use(3000)\n"
                  "    if len(os.listdir('/proc/self/task')) > 1: break\n"
                  "    time.sleep(0.05)\n"
                  "use(30000)\n"
                  "print('ready', flush=True)\n"
                  "sys.stdin.readline()\n")
        program = self.fleet.run(f"{self.folder}/{name}", "-c", script, name)
        fleet.lines_until_ready(program)
        return program

    def lapse(self):
        """A budget of a daemon that is killed holds for a minute, and then no more."""
        self.start("[policy all]\nhard = 32M\non-limit = fail\n")
        program = grow(self.fleet, self.program, 100)
        assert heard(program)[1] == "refused"
        self.fleet.hakd.kill()
        begin = time.monotonic()
        while True:
            time.sleep(1)
            fleet.go(program)
            word = heard(program)[1]
            took = time.monotonic() - begin
            if word == "held":
                break
            assert took < 75, "it never lapses"
        print(f"the budget lapsed {took:.0f} s after the daemon was killed")
        assert took > 55
        program.stdin.close()
        assert program.wait(20) == 0


def heard_again(program):
    """Another slow path or two, for what is told on one."""
    fleet.go(program)
    return heard(program)


def main(library, hakd, program, case):
    with tempfile.TemporaryDirectory(prefix="hak-policy-") as folder:
        cases = Cases(library, hakd, program, folder)
        try:
            getattr(cases, case)()
            if cases.fleet.hakd.poll() is None:
                cases.fleet.end()
        finally:
            if cases.fleet is not None:
                cases.fleet.hakd.kill()
                cases.fleet.hakd.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/python3
"""fleet - a private hakd, two long-lived programs on libhak, and what an administrator sees.

usage: fleet.py --lib PATH --bin DIR    (DIR holds hakd, and cli/hak-status and cli/hakctl)

redis and a python3 service are started with the library and keep working all the time, each
checking what it gets back. Meanwhile they are listed, trimmed, and measured, and hakd is killed and
started again. Exits with 1, and says why, where one of them is not listed, gives nothing back, or
notices anything.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

MIB = 1 << 20
VALUE_BYTES = 600

# A service that holds a cache, drops most of it when told to, and goes on serving until its input
# ends; it says when it has come so far.
SERVICE = """
import select, sys, time
cache = {n: bytes([n % 251]) * 900 for n in range(120000)}
print("ready", flush=True)
sys.stdin.readline()
for n in [n for n in cache if n % 50]:
    del cache[n]
print("dropped", flush=True)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end and not select.select([sys.stdin], [], [], 0.01)[0]:
    page = [bytes([n % 251]) * 900 for n in range(2000)]
    assert all(value == cache[n] for n, value in enumerate(page) if n % 50 == 0)
assert all(value == bytes([n % 251]) * 900 for n, value in cache.items())
print(len(cache), flush=True)
"""


class Failed(Exception):
    pass


def resident_mib(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") / MIB


class Redis:
    """redis-server, and a client of it that never stops asking and knows the answers."""

    def __init__(self, folder, environment):
        self.path = os.path.join(folder, "redis")
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.path, "--save", "",
             "--dir", folder], env=environment, stdout=subprocess.DEVNULL)
        self.answers, self.wrong, self.stopping = 0, None, threading.Event()
        self.asking = threading.Thread(target=self._ask)

    def connect(self):
        for _ in range(200):
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self.path)
                return connection.makefile("rwb")
            except OSError:
                connection.close()
                time.sleep(0.05)
        raise Failed("redis does not answer")

    @staticmethod
    def value(number):
        return b"%0*d" % (VALUE_BYTES, number)

    @staticmethod
    def command(*words):
        return b"*%d\r\n" % len(words) + b"".join(
            b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    def _batch(self, stream, commands, lines_each):
        stream.write(b"".join(commands))
        stream.flush()
        return [[stream.readline().rstrip(b"\r\n") for _ in range(lines_each)] for _ in commands]

    def fill(self, count):
        """Sets the keys, and deletes all but one in 40 of them."""
        stream = self.connect()
        for first in range(0, count, 500):
            self._batch(stream, [self.command(b"SET", b"k%d" % n, self.value(n))
                                 for n in range(first, first + 500)], 1)
        full = resident_mib(self.process.pid)
        for first in range(0, count, 500):
            self._batch(stream, [self.command(b"DEL", b"k%d" % n)
                                 for n in range(first, first + 500) if n % 40], 1)
        self.keys = range(0, count, 40)
        self.asking.start()
        return full

    def _ask(self):
        """Reads what must be there, and writes and deletes a few hundred keys of its own: what fits
        into a thread's magazines never meets the rest of the allocator, nor a request to trim."""
        stream, chance = self.connect(), random.Random(1)
        own = [b"own%d" % n for n in range(400)]
        while not self.stopping.is_set():
            asked = [chance.choice(self.keys) for _ in range(50)]
            got = self._batch(stream, [self.command(b"GET", b"k%d" % n) for n in asked], 2)
            self._batch(stream, [self.command(b"SET", key, self.value(0)) for key in own], 1)
            self._batch(stream, [self.command(b"DEL", *own)], 1)
            for number, lines in zip(asked, got):
                if lines[-1] != self.value(number):
                    self.wrong = f"key {number} has the value {lines[-1][:40]!r}"
                    return
            self.answers += len(asked)
            time.sleep(0.002)

    def end(self):
        self.stopping.set()
        self.asking.join()
        if self.wrong:
            raise Failed(f"redis: {self.wrong}")
        self.process.terminate()
        if self.process.wait(timeout=20) != 0:
            raise Failed(f"redis ended with {self.process.returncode}")


class Fleet:
    def __init__(self, folder, library, binaries):
        self.folder, self.binaries, self.hakd = folder, binaries, None
        self.runtime = os.path.join(folder, "hak")
        os.mkdir(self.runtime)
        self.environment = dict(os.environ, LD_PRELOAD=library, PYTHONMALLOC="malloc",
                                HAK_SOCKET=os.path.join(self.runtime, "client"))

    def start_hakd(self):
        print(f"$ hakd --runtime-dir {self.runtime} &", flush=True)
        self.hakd = subprocess.Popen([os.path.join(self.binaries, "hakd"), "--runtime-dir",
                                      self.runtime], stderr=subprocess.PIPE, text=True)
        for line in self.hakd.stderr:
            if "ready" in line:
                break
        else:
            raise Failed("hakd did not start")
        # Whatever else it says must not fill the pipe.
        threading.Thread(target=self.hakd.stderr.read, daemon=True).start()

    def kill_hakd(self):
        print(f"$ kill -9 {self.hakd.pid}    # hakd", flush=True)
        self.hakd.kill()
        self.hakd.wait()

    def run(self, name, *words, shown=True):
        command = [os.path.join(self.binaries, "cli", name), *words, "--runtime-dir", self.runtime]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        if shown:
            print("$ " + " ".join([name, *words]))
            print(done.stdout, flush=True)
        if done.returncode != 0:
            raise Failed(f"{name} {' '.join(words)} ended with {done.returncode}: {done.stdout}")
        return done.stdout

    def wait_until_listed(self, pids, seconds):
        begin = time.monotonic()
        while True:
            told = json.loads(self.run("hak-status", "--json", shown=False))
            missing = set(pids) - {client["pid"] for client in told["clients"]}
            if not missing:
                return time.monotonic() - begin
            if time.monotonic() - begin > seconds:
                raise Failed(f"after {seconds} s hakd does not know of {sorted(missing)}")
            time.sleep(0.1)

    def trim(self, name, pid):
        before = resident_mib(pid)
        self.run("hakctl", "trim", str(pid))
        after = resident_mib(pid)
        print(f"resident: {before:.1f} MiB before, {after:.1f} MiB after\n", flush=True)
        if before - after < 0.5 * before:
            raise Failed(f"the trim of {name} gave back {before - after:.1f} of {before:.1f} MiB")

    def show_metrics(self):
        command = ["curl", "-s", "--unix-socket", os.path.join(self.runtime, "control"),
                   "http://hak/metrics"]
        text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        lines = [line for line in text.splitlines() if line.startswith("hak_heap_bytes")]
        if not lines:
            raise Failed("there is no hak_heap_bytes in /metrics")
        print("$ curl --unix-socket .../control http://hak/metrics | grep ^hak_heap_bytes")
        print("\n".join(lines) + "\n", flush=True)


def show(fleet, seconds):
    fleet.start_hakd()
    with contextlib.ExitStack() as ending:
        redis = Redis(fleet.folder, fleet.environment)
        ending.callback(redis.process.kill)
        python = subprocess.Popen([sys.executable, "-c", SERVICE, str(seconds)],
                                  env=fleet.environment, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        ending.callback(python.kill)
        ending.callback(lambda: fleet.hakd.kill())
        pids = redis.process.pid, python.pid
        print("$ LD_PRELOAD=libhak.so redis-server & LD_PRELOAD=libhak.so python3 service.py &\n",
              flush=True)
        python.stdout.readline()
        redis.fill(120000)
        fleet.wait_until_listed(pids, 5)
        print("Both hold caches of some 100 MiB; redis has deleted most of its keys.")
        fleet.run("hak-status")
        fleet.trim("redis", pids[0])
        print("Now python3 drops most of its cache as well.")
        python.stdin.write("on\n")
        python.stdin.flush()
        python.stdout.readline()
        fleet.trim("python3", pids[1])
        fleet.run("hak-status", str(pids[1]))
        fleet.show_metrics()
        fleet.kill_hakd()
        answers = redis.answers
        time.sleep(1)
        fleet.start_hakd()
        waited = fleet.wait_until_listed(pids, 10)
        print(f"Both registered with the new one after {waited:.1f} s; meanwhile redis gave "
              f"{redis.answers - answers} right answers.")
        fleet.run("hak-status")
        python.stdin.close()
        held = python.stdout.readline()
        if python.wait(timeout=seconds + 10) != 0 or held.strip() != "2400":
            raise Failed(f"python3 ended with {python.returncode} and {held!r}")
        redis.end()
        fleet.hakd.send_signal(signal.SIGTERM)
        if fleet.hakd.wait(timeout=10) != 0:
            raise Failed(f"hakd ended with {fleet.hakd.returncode}")
    print(f"redis gave {redis.answers} right answers; redis, python3 and hakd ended well.")


def main():
    parser = argparse.ArgumentParser(description="A private hakd and two programs on libhak.")
    parser.add_argument("--lib", required=True, help="the library to preload")
    parser.add_argument("--bin", required=True, help="the folder of hakd and of cli/")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hak-fleet-") as folder:
        show(Fleet(folder, os.path.abspath(arguments.lib), arguments.bin), 60)


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"FAILED: {failure}")

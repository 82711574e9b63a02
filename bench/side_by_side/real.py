"""The real programs among the rows: how each is started, and what it has to say in the end.

Whatever allocator serves it, a program must say what it says under glibc: that is asked for first,
in a run that is not timed, and a run with another answer has failed.
"""

import contextlib
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from .inputs import c_source, sql_script
from .runs import RUN_SECONDS_MAX, RunError, environment_for
from .whole import Process, expect_allocator, kib_field

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent / "real"
# Not the first one in PATH: a version manager's python3 is a shell script.
PYTHON = "/usr/bin/python3"
PYTHON_SETTINGS = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
REDIS_TOOLS = ("redis-server", "redis-benchmark")
# Redis' own regular work goes on meanwhile, ten times a second.
SETTLE_SECONDS = 2
# Requests for each key: that one of so many keys is never drawn does not happen, and so the number
# of keys is the same in each run, though redis-benchmark's generator cannot be seeded.
REDIS_DRAWS = 40
REDIS_STEPS = (("-t", "set", "-d", "64"), ("-t", "set", "-d", "1000"), ("-t", "get"),
               ("-t", "set", "-d", "300"), ("-t", "lpush", "-d", "100"),
               ("-t", "hset", "-d", "200"), ("-t", "zadd"))
REDIS_QUESTIONS = ("DBSIZE", "LLEN mylist", "HLEN myhash", "ZCARD myzset",
                   "STRLEN key:000000000000")


def cc1_path():
    """The compiler proper. gcc itself only starts it, in a process of its own."""
    if not shutil.which("gcc"):
        return None
    said = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True,
                          check=False).stdout.strip()
    return shutil.which(said)


def path_of(program):
    if program == "cc1":
        return cc1_path()
    return PYTHON if program == "python3" and shutil.which(PYTHON) else shutil.which(program)


def missing_of(row):
    """The program that this row needs and that is not installed, or None."""
    needed = REDIS_TOOLS if row.words[0] == "redis-server" else (row.words[0],)
    return next((program for program in needed if not path_of(program)), None)


def difference(answer, expected):
    """The first line that is not as under glibc."""
    for number, (line, other) in enumerate(zip(answer.splitlines() + [""],
                                               expected.splitlines() + [""]), 1):
        if line != other:
            return f"line {number} of its output is '{line[:60]}', and under glibc '{other[:60]}'"
    return "its output has another length than under glibc"


class Program:
    """A program that is one process and says the same each time."""

    def __init__(self, row, settings, folder):
        self.words = row.command(settings)
        self.folder = pathlib.Path(folder)
        self.quick = settings.quick
        self.expected = None
        self.prepare()

    def prepare(self):
        name, *arguments = self.words
        self.command, self.stdin, self.more = [path_of(name)], "/dev/null", {}
        if name == "cc1":
            (self.folder / "big.c").write_text(c_source(int(arguments[-1])), "utf-8")
            self.command += ["-quiet", *arguments[:-1], "big.c", "-o", "-"]
        elif name == "sqlite3":
            self.stdin = self.folder / "script.sql"
            self.stdin.write_text(sql_script(int(arguments[-1])), "utf-8")
            (self.folder / "settings").write_text("", "utf-8")
            self.command += ["-batch", "-init", "settings", "-cmd", "PRAGMA temp_store=memory",
                             *arguments[:-1]]
        else:
            options = {"python3": ["-S"], "lua5.4": ["-E"], "ruby": ["--disable-gems"]}[name]
            self.command += [*options, str(SCRIPTS / arguments[0]), *arguments[1:]]
            if name == "python3":
                self.more = PYTHON_SETTINGS

    def measure(self, library):
        """(sample, answer) of one run."""
        process = Process(self.command, library, self.folder, self.stdin, self.more)
        sample, answer, served_by = process.finish()
        expect_allocator(served_by, library)
        return sample, answer

    def __call__(self, library):
        if self.expected is None:
            try:
                _, self.expected = self.measure(None)
            except RunError as error:
                raise RunError(f"under glibc: {error}") from error
            if not self.expected.strip():
                raise RunError("under glibc: no answer")
        sample, answer = self.measure(library)
        if answer != self.expected:
            raise RunError(difference(answer, self.expected))
        return sample


class Redis(Program):
    """redis-server, which alone runs under the allocator, and redis-benchmark, which is timed."""

    def prepare(self):
        self.socket = self.folder / "redis.sock"
        self.command = [path_of("redis-server"), "--port", "0", "--unixsocket", str(self.socket),
                        "--save", "", "--appendonly", "no", "--daemonize", "no",
                        "--dir", str(self.folder), "--loglevel", "warning"]
        # Debian's is linked to jemalloc, and has glibc's malloc only if glibc is asked first.
        self.glibc = next(
            pathlib.Path(line.split()[-1]) for line in
            pathlib.Path("/proc/self/maps").read_text("utf-8").splitlines()
            if "/libc.so" in line or "/libc-2" in line)

    def ask(self, words):
        """One command, written as the wire has it in lines; the first line of the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(RUN_SECONDS_MAX)
            connection.connect(str(self.socket))
            connection.sendall(words.encode() + b"\r\n")
            return connection.makefile("rb").readline().decode().strip()

    def wait_until_ready(self):
        for _ in range(500):
            with contextlib.suppress(OSError):
                if self.ask("PING") == "+PONG":
                    return
            time.sleep(0.01)
        raise RunError("redis-server does not answer")

    def drive(self):
        """Runs the clients; returns their seconds."""
        requests = int(self.words[-1])
        seconds = 0.0
        for step in REDIS_STEPS:
            start = time.perf_counter()
            done = subprocess.run(
                [path_of("redis-benchmark"), "-s", str(self.socket), "-q", "-n", str(requests),
                 "-P", "16", "-c", "20", "-r", str(max(1, requests // REDIS_DRAWS)), *step],
                env=environment_for(None), stdin=subprocess.DEVNULL, capture_output=True,
                text=True, timeout=RUN_SECONDS_MAX, check=False)
            seconds += time.perf_counter() - start
            if done.returncode != 0:
                raise RunError(f"redis-benchmark {' '.join(step)}: status {done.returncode}: "
                               f"{(done.stderr or done.stdout).strip()[-200:]}")
        return seconds

    def converse(self, pid):
        """What is done with the server while it lives: (seconds, resident at the end, answer)."""
        self.wait_until_ready()
        seconds = self.drive()
        answer = "\n".join(f"{question}: {self.ask(question)}" for question in REDIS_QUESTIONS)
        if not self.ask("FLUSHALL SYNC").startswith("+OK"):
            raise RunError("FLUSHALL failed")
        time.sleep(0 if self.quick else SETTLE_SECONDS)
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8")
        resident = kib_field(rollup, "Rss")
        self.ask("SHUTDOWN NOSAVE")
        return seconds, resident, answer

    def measure(self, library):
        process = Process(self.command, library or self.glibc, self.folder)
        said, trouble = [], []

        def converse():
            try:
                said.extend(self.converse(process.pid))
            except (OSError, RunError, subprocess.TimeoutExpired) as error:
                trouble.append(str(error))
                process.kill()

        # In a thread of its own: a server that crashes has to be waited for at once.
        client = threading.Thread(target=converse)
        client.start()
        try:
            sample, _, served_by = process.finish()
        except RunError as error:
            client.join()
            raise RunError("; ".join([f"redis-server: {error}", *trouble])) from error
        client.join()
        if trouble:
            raise RunError(trouble[0])
        expect_allocator(served_by, library)
        seconds, resident, answer = said
        return {**sample, "seconds": seconds, "resident_bytes": float(resident),
                "peak_bytes": max(sample["peak_bytes"], float(resident))}, answer


@contextlib.contextmanager
def prepared(row, settings):
    """What runs the row once under a library, with a folder of its own while it is needed."""
    kind = Redis if row.words[0] == "redis-server" else Program
    with tempfile.TemporaryDirectory(prefix="hak-bench-") as folder:
        yield kind(row, settings, folder)

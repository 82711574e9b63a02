"""Real programs that burst when they are told to: each takes some 60 to 200 MiB, works on it, frees
it and stands still until its next turn.

A program is started once and bursts many times. `burst` returns when the program has said that it
is done, or raises ProgramError. `pids` are all processes whose memory is the program's.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import time

from host import descendants_of

HERE = pathlib.Path(__file__).resolve().parent
START_SECONDS = 30
BURST_SECONDS = 60


class ProgramError(Exception):
    """A program did not start, or did not do its work."""


class Talking:
    """A program that is told a line and answers with the line "done"."""

    command = ()
    line = "burst\n"

    def __init__(self, host):
        self.process = subprocess.Popen(
            self.command, env=host.environment, cwd=host.folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def burst(self):
        self.process.stdin.write(self.line)
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.strip() == "done":
                return
        raise ProgramError(f"{self.command[0]} ended with {self.process.wait()}")

    def pids(self):
        return [self.process.pid, *descendants_of(self.process.pid)]

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Python(Talking):
    command = ("/usr/bin/python3", str(HERE / "burst.py"))


class Perl(Talking):
    command = ("/usr/bin/perl", str(HERE / "burst.pl"))


class Node(Talking):
    command = ("/usr/bin/node", "--expose-gc", str(HERE / "burst.js"))


class Sqlite(Talking):
    command = ("/usr/bin/sqlite3", ":memory:")
    # A table that is dropped keeps its pages until its database is closed.
    line = ("create table t(a integer primary key, b, c); with recursive n(i) as (select 1 union "
            "all select i + 1 from n where i < 320000) insert into t select i, "
            "hex(i * 7919 % 1000003), printf('%.*c', i % 300, 'x') from n; create index ti "
            "on t(b); select sum(a) from t where b > '5'; drop table t;\n"
            ".open :memory:\nselect 'done';\n")


class Redis:
    """SETs of 10 to 600 bytes in a pipeline, and all of them gone again."""

    count = 180000
    number = 0

    def __init__(self, host):
        Redis.number += 1
        self.path = str(host.folder / f"redis{Redis.number}")
        self.process = subprocess.Popen(
            ["/usr/bin/redis-server", "--port", "0", "--save", "", "--unixsocket", self.path,
             "--dir", str(host.folder)], env=host.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, start_new_session=True)
        self.client = socket.socket(socket.AF_UNIX)
        self.client.settimeout(BURST_SECONDS)
        end = time.monotonic() + START_SECONDS
        # Its file is there a moment before it listens.
        while self.client.connect_ex(self.path) != 0:
            if time.monotonic() > end or self.process.poll() is not None:
                raise ProgramError("redis-server does not listen")
            time.sleep(0.02)
        self.stream = self.client.makefile("rwb")

    batch = 1000
    commands = [b"".join(b"*3\r\n$3\r\nSET\r\n$7\r\nk%06d\r\n$%d\r\n%s\r\n"
                         % (number, number % 591 + 10, b"v" * (number % 591 + 10))
                         for number in range(first, first + 1000))
                for first in range(0, count, 1000)]

    def expect(self, answers):
        for _ in range(answers):
            answer = self.stream.readline()
            if answer != b"+OK\r\n":
                raise ProgramError(f"redis-server said {answer}")

    def burst(self):
        for commands in self.commands:
            self.stream.write(commands)
            self.stream.flush()
            self.expect(self.batch)
        self.stream.write(b"FLUSHALL SYNC\r\n")
        self.stream.flush()
        self.expect(1)

    def pids(self):
        return [self.process.pid]

    def end(self):
        self.stream.close()
        self.client.close()
        self.process.kill()
        self.process.wait()


class PostgresServer:
    """One server for all sessions of a host; it does not run as root."""

    def __init__(self, host):
        self.bin = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self.folder = host.folder / "postgres"
        self.folder.mkdir(exist_ok=True)
        self.as_user = ()
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            self.as_user = ("/usr/sbin/runuser", "-u", "postgres", "--")
        plain = {key: value for key, value in host.environment.items() if key != "LD_PRELOAD"}
        subprocess.run([*self.as_user, self.bin / "initdb", "-D", self.folder / "data", "-A",
                        "trust", "-N"], env=plain, cwd=self.folder, check=True,
                       stdout=subprocess.DEVNULL)
        preload = [f"LD_PRELOAD={host.environment['LD_PRELOAD']}"] \
            if "LD_PRELOAD" in host.environment else []
        self.process = subprocess.Popen(
            [*self.as_user, "/usr/bin/env", *preload, self.bin / "postgres", "-D",
             self.folder / "data", "-k", self.folder, "-c", "listen_addresses=", "-c",
             "work_mem=512MB", "-c", "hash_mem_multiplier=2", "-c", "fsync=off", "-c",
             "max_parallel_workers_per_gather=0", "-c", "jit=off"],
            env=plain, cwd=self.folder, stderr=subprocess.DEVNULL, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while not (self.folder / ".s.PGSQL.5432").exists():
            if time.monotonic() > end or self.process.poll() is not None:
                raise ProgramError("postgres does not listen")
            time.sleep(0.05)

    def pids(self):
        return [self.process.pid, *descendants_of(self.process.pid)]

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Postgres(Talking):
    """A session: its memory is its backend's, which is a child of the server."""

    line = ("select count(*) from (select md5(i::text) m, array_agg(i) from generate_series(1, "
            "240000) i group by 1) x;\n\\echo done\n")

    def __init__(self, host, server):
        self.command = ("/usr/lib/postgresql/" + server.bin.parent.name + "/bin/psql", "-q", "-t",
                        "-h", str(server.folder), "-U", "postgres", "postgres")
        # psql itself is a tool of the measurement, and no part of the fleet.
        self.process = subprocess.Popen(
            self.command, cwd=server.folder, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True)

    def pids(self):
        return []

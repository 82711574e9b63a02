#!/usr/bin/python3
"""usage: watch.py LIBRARY PROGRAM CASE

Goal    a program with an agent heeds $MEMORY_PRESSURE_WATCH, whatever kind of file that is, and
        goes on where it means nothing.
Method  PROGRAM (agent.c) frees 96 MiB and stands still, with a decay of a day: it ends well when
        they are gone, which is to be because of an event and not before.
"""

import base64
import os
import select
import socket
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
MEMORY = "/sys/fs/cgroup/memory"


class Program:
    def __init__(self, library, program, watch, write=None, case="is_pressed", watched=True):
        environment = dict(os.environ, LD_PRELOAD=library, HAK_AGENT="1", HAK_LAZYFREE="no",
                           HAK_DECAY="86400000", HAK_SOCKET="/nonexistent",
                           MEMORY_PRESSURE_WATCH=watch)
        if write is not None:
            environment["MEMORY_PRESSURE_WRITE"] = write
        if watched:
            environment["WATCHED"] = "1"
        self.process = subprocess.Popen([program, case], env=environment, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line == "ready\n", (line, self.process.communicate())

    def holds(self):
        time.sleep(0.5)
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            assert int(statm.read().split()[1]) * 4096 > 80 * MIB, "given back too early"

    def ends(self, *words):
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, (self.process.returncode, errors)
        assert [word in errors for word in words] == [True] * len(words), errors
        assert errors.count("\n") == len(words), errors

    def stays(self, *words):
        self.holds()
        self.process.kill()
        _, errors = self.process.communicate(timeout=60)
        assert [word in errors for word in words] == [True] * len(words), errors
        assert errors.count("\n") == len(words), errors


class Cases:
    def __init__(self, library, program, folder):
        self.library, self.program, self.path = library, program, f"{folder}/watched"

    def run(self, *arguments, **how):
        return Program(self.library, self.program, *arguments, **how)

    def fifo(self):
        os.mkfifo(self.path)
        program = self.run(self.path)
        program.holds()
        with open(self.path, "wb", buffering=0) as fifo:
            fifo.write(b"!")
        program.ends()

    def listen(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen()
        listener.settimeout(60)
        return listener

    def socket(self):
        """It says hello; it comes again when the other end has gone."""
        with self.listen() as listener:
            program = self.run(self.path, base64.b64encode(b"hello").decode())
            for ends in (True, False):
                peer, _ = listener.accept()
                with peer:
                    peer.settimeout(60)
                    assert peer.recv(100) == b"hello"
                    if ends:
                        continue
                    program.holds()
                    peer.send(b"pressure")
                    program.ends()

    def socket_late(self):
        """Nobody is there at first, which is one line."""
        program = self.run(self.path)
        program.holds()
        with self.listen() as listener:
            peer, _ = listener.accept()
            with peer:
                peer.send(b"!")
                program.ends(f"MEMORY_PRESSURE_WATCH cannot be watched yet: {self.path}: errno 2")

    def closes(self):
        """All descriptors are closed, and ours is somebody else's by then."""
        with self.listen() as listener:
            program = self.run(self.path, case="is_pressed_and_closes")
            for _ in range(2):
                peer, _ = listener.accept()
                select.select([peer], [], [], 0.5)
                try:
                    peer.send(b"!")
                except BrokenPipeError:
                    pass
            program.ends()

    def regular(self):
        """A real pressure file, and real stalls: of who writes more than its group may hold."""
        if os.geteuid() != 0 or not os.path.exists(f"{MEMORY}/memory.limit_in_bytes"):
            sys.exit(77)
        if not os.access("/proc/pressure/memory", os.W_OK):
            sys.exit(77)
        words = base64.b64encode(b"some 1000 2000000\0").decode()
        program = self.run("/proc/pressure/memory", words)
        folder = f"{MEMORY}/hak-watch-{os.getpid()}"
        os.mkdir(folder)
        try:
            with open(f"{folder}/memory.limit_in_bytes", "w", encoding="ascii") as limit:
                limit.write(str(16 * MIB))
            script = (f"echo $$ > {folder}/cgroup.procs && while :; do "
                      f"dd if=/dev/zero of={self.path} bs=1M count=64; done 2>/dev/null")
            with subprocess.Popen(["sh", "-c", script], start_new_session=True) as thrasher:
                try:
                    program.ends()
                finally:
                    os.killpg(thrasher.pid, 9)
        finally:
            self.remove(folder)

    @staticmethod
    def remove(folder):
        for _ in range(100):
            try:
                return os.rmdir(folder)
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the group is never empty")

    def nothing(self):
        """What means nothing is one line, and what is switched off is none."""
        self.run("/dev/null", watched=False).stays()
        self.run("", watched=False).stays()
        self.run("a/b", watched=False).stays("MEMORY_PRESSURE_WATCH is no absolute path; ignored")
        self.run("/" + "a" * 5000, watched=False).stays("are longer than can be; ignored")
        for words in ("abc", "ab=c", "a===", "ab c", "=", "abcdefg!"):
            self.run(self.path, words, watched=False).stays("is not base64; nothing is watched")
        self.run("/nonexistent/x").stays("cannot be watched yet: /nonexistent/x: errno 2")
        self.run("/dev/zero").stays("cannot be watched yet: /dev/zero: errno 22")
        with open(self.path, "w", encoding="ascii"):
            pass
        self.run(self.path, "aGVsbG8=").stays("errno 22")
        assert os.path.getsize(self.path) == 0, "a file that is nobody's was written to"


def main(library, program, case):
    with tempfile.TemporaryDirectory(prefix="hak-watch-") as folder:
        getattr(Cases(library, program, folder), case)()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Whole processes that know nothing of the bench: how long, how much memory, whose malloc.

A program of our own says all that in its last line. Of any other the kernel is asked. The process
is seized by ptrace(2), with a stop at its end alone: it runs undisturbed and stops once, when it
has ended but still has its memory. What the stop takes is no part of its time.
"""

import contextlib
import ctypes
import os
import pathlib
import re
import resource
import signal
import threading
import time

from .bindings import allocators_of
from .runs import RUN_SECONDS_MAX, RunError, environment_for, expect_success

PTRACE_CONT, PTRACE_SEIZE, PTRACE_LISTEN = 7, 0x4206, 0x4208
# The second: whoever ends the bench by a signal leaves no server behind.
PTRACE_O_TRACEEXIT, PTRACE_O_EXITKILL = 0x40, 0x100000
PTRACE_EVENT_EXIT, PTRACE_EVENT_STOP = 6, 128
WALL = 0x40000000  # wait(2) for all kinds of children, which Python has no name for
STOP_SIGNALS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
# How often a tree of processes is looked at; one process alone is never.
SAMPLE_SECONDS = 0.05

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long


def ptrace(request, pid, data):
    if LIBC.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def kib_field(text, name):
    found = re.search(rf"^{name}:\s*(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def memory_of(pid):
    """(peak, resident now) in bytes. The peak is counted per processor and may lag a little behind
    what is resident, which is counted page by page."""
    folder = pathlib.Path("/proc", str(pid))
    resident = kib_field((folder / "smaps_rollup").read_text("utf-8"), "Rss")
    peak = kib_field((folder / "status").read_text("utf-8"), "VmHWM")
    return max(peak, resident), resident


def text_of(fd):
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(fd, "r", encoding="utf-8", errors="replace") as stream:
        return stream.read()


def descendants_of(pid):
    found = []
    for path in pathlib.Path("/proc", str(pid), "task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text("utf-8").split():
                found += [int(child), *descendants_of(child)]
    return found


def tree_bytes(pid):
    """The sum of Pss of a process and its descendants; 0 where it is alone, as its own peak says
    more then, and to read Pss of a large heap holds up the process."""
    children = descendants_of(pid)
    total = 0
    for one in [pid, *children] if children else []:
        with contextlib.suppress(OSError):
            rollup = pathlib.Path("/proc", str(one), "smaps_rollup").read_text("utf-8")
            total += kib_field(rollup, "Pss")
    return total


class Process:
    """One process with what it starts, in a process group of its own that never outlives it."""

    def __init__(self, command, library, folder, stdin="/dev/null", more=()):
        environment = {**environment_for(library), **dict(more)}
        self.out = os.memfd_create("out")
        self.errors = os.memfd_create("errors")
        self.faults_before = os.memfd_create("faults")
        self.over = threading.Event()
        self.late = False
        self.tree_peak = 0
        gate_read, gate = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(gate)
            self.become(command, environment, folder, stdin, gate_read)
        os.close(gate_read)
        try:
            ptrace(PTRACE_SEIZE, self.pid, PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL)
        except OSError as error:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise RunError(f"cannot be watched by ptrace: {error.strerror}") from error
        finally:
            self.started = time.perf_counter()
            os.close(gate)

    def become(self, command, environment, folder, stdin, gate):
        """In the child: waits until it is watched, as some are over in a millisecond, and then
        becomes the program."""
        try:
            os.setpgid(0, 0)
            os.chdir(folder)
            for number, fd in enumerate((os.open(stdin, os.O_RDONLY), self.out, self.errors)):
                os.dup2(fd, number)
            os.read(gate, 1)
            # The faults of this copy of the interpreter are no part of the program's.
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            os.write(self.faults_before, str(faults).encode())
            os.execve(command[0], command, environment)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}".encode())
        finally:
            os._exit(127)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def look_after(self, samples_tree):
        """In a thread of its own: ends what hangs, and adds up what a tree of processes holds."""
        interval = SAMPLE_SECONDS if samples_tree else RUN_SECONDS_MAX
        while not self.over.wait(interval):
            if time.perf_counter() - self.started >= RUN_SECONDS_MAX:
                self.late = True
                self.kill()
                return
            self.tree_peak = max(self.tree_peak, tree_bytes(self.pid))

    def wait_traced(self):
        """Waits for the end; returns (wait status, seconds, minor page faults, what was read at
        the exit stop)."""
        read, paused = None, 0.0
        while True:
            _, status, usage = os.wait4(self.pid, WALL)
            now = time.perf_counter()
            if not os.WIFSTOPPED(status):
                return status, now - self.started - paused, usage.ru_minflt, read
            number, event = os.WSTOPSIG(status), status >> 16
            if event == PTRACE_EVENT_EXIT:
                # A process that is being killed may be gone before it is read.
                with contextlib.suppress(OSError):
                    read = (*memory_of(self.pid), allocators_of(self.pid))
            stopped = event == PTRACE_EVENT_STOP and number in STOP_SIGNALS
            with contextlib.suppress(OSError):
                ptrace(PTRACE_LISTEN if stopped else PTRACE_CONT, self.pid, 0 if event else number)
            paused += time.perf_counter() - now

    def finish(self, samples_tree=False):
        """Waits for the end; returns (sample, stdout, the files that served its malloc)."""
        guard = threading.Thread(target=self.look_after, args=(samples_tree,))
        guard.start()
        try:
            status, seconds, faults, read = self.wait_traced()
        finally:
            self.over.set()
            guard.join()
            self.kill()  # what it left behind
        out, errors = text_of(self.out), text_of(self.errors)
        faults -= int(text_of(self.faults_before) or 0)
        expect_success(status, self.late, errors)
        if not read:
            raise RunError("was gone before it could be read")
        sample = {"seconds": seconds, "wall_seconds": seconds,
                  "peak_bytes": float(max(read[0], self.tree_peak)),
                  "resident_bytes": float(read[1]), "minor_faults": faults}
        return sample, out, read[2]


def expect_allocator(served_by, library):
    """A run under any other library than the one that was asked for has measured nothing."""
    names = ", ".join(sorted(str(path) for path in served_by)) or "nowhere that can be seen"
    if library and served_by != {library.resolve()}:
        raise RunError(f"malloc came from {names}, not from {library}")
    if not library and {path.name.split(".")[0] for path in served_by} != {"libc"}:
        raise RunError(f"malloc came from {names}, not from glibc")

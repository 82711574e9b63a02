"""launcher - runs one command and sees every process of its tree at the moment it ends.

Whether a program really ran on a preloaded library cannot be learned by looking now and then: many
programs are gone sooner than one can look. So the launcher traces the tree with ptrace(2) and asks
for one thing only, a stop at each exit (PTRACE_O_TRACEEXIT). There the address space still stands:
/proc/PID/maps says what was mapped, and VmHWM in /proc/PID/status is the exact peak of that image;
ru_maxrss would not do, since it keeps the peak of the parent that forked. System calls are not
stopped at, so the program runs at its own speed in between.

Owns       every process of the tree. All of them die with the launcher, whatever ends it
           (PTRACE_O_EXITKILL), and none is left when launch() returns or raises.
Threads    one launch() at a time, from the main thread: a tracer is a thread, and the time limit
           is an alarm.
Errors     TimeLimit when the tree did not end in time; PermissionError where tracing is not
           permitted.
Source     ptrace(2), proc(5).
"""

import contextlib
import ctypes
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

PTRACE_CONT = 7
PTRACE_SEIZE = 0x4206
PTRACE_LISTEN = 0x4208
PTRACE_EVENT_EXIT = 6
PTRACE_EVENT_STOP = 128
TRACE_FORK, TRACE_VFORK, TRACE_CLONE, TRACE_EXEC, TRACE_EXIT = (1 << n for n in (1, 2, 3, 4, 6))
EXITKILL = 1 << 20
OPTIONS = TRACE_FORK | TRACE_VFORK | TRACE_CLONE | TRACE_EXEC | TRACE_EXIT | EXITKILL
WALL = 0x40000000

STOPPING = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
DRAIN_SECONDS = 5

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long] * 4
_libc.ptrace.restype = ctypes.c_long


class TimeLimit(Exception):
    """The tree had not ended when its time was over."""


@dataclass
class Image:
    """What one process was when it ended. `has_libc`: whether the C library was mapped, which the
    loader does after all that is preloaded."""

    pid: int
    name: str
    peak_kib: int
    mapped: bool
    has_libc: bool


@dataclass
class Run:
    """What one command did. `status` is as subprocess has it: minus a signal's number. `failure`
    is set, and nothing else, where the command had to be ended."""

    failure: str = ""
    status: int = 0
    seconds: float = 0.0
    stdout: bytes = b""
    stderr: bytes = b""
    images: list = field(default_factory=list)

    def peak_kib(self, names):
        """The largest process among those that ran one of `names`; 0 if none did."""
        return max((i.peak_kib for i in self.images if i.name in names), default=0)


def _ptrace(request, pid, data):
    if _libc.ptrace(request, pid, 0, data) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _status_fields(pid):
    text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def look(pid, library):
    """The image of a process that stands at its exit; None for a thread beside the leader."""
    fields = _status_fields(pid)
    if int(fields["Tgid"]) != pid or "VmHWM" not in fields:
        return None
    maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    # The sixth field is the path; a path may hold spaces, the five before it may not.
    paths = {parts[5] for parts in (line.split(None, 5) for line in maps.splitlines())
             if len(parts) == 6}
    return Image(pid=pid, name=os.path.basename(os.readlink(f"/proc/{pid}/exe")),
                 peak_kib=int(fields["VmHWM"].split()[0]), mapped=library in paths,
                 has_libc=any(os.path.basename(path) == "libc.so.6" for path in paths))


class Tree:
    """All processes that descend from one command, from its start to the last one's end."""

    def __init__(self, library):
        self.library = library
        self.images = []
        self.alive = set()
        self.status = None
        self.ended = 0.0

    def start(self, command, env, directory, stdout, stderr):
        """Forks the command and traces it before its first instruction. Returns its pid."""
        gate_out, gate_in = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(gate_in)
                # A session of its own: a Ctrl-C at the terminal reaches the launcher alone, which
                # then ends the tree in order.
                os.setsid()
                os.chdir(directory)
                with open(os.devnull, "rb") as nothing:
                    os.dup2(nothing.fileno(), 0)
                os.dup2(stdout, 1)
                os.dup2(stderr, 2)
                if os.read(gate_out, 1):
                    for number in (signal.SIGPIPE, signal.SIGXFSZ):
                        signal.signal(number, signal.SIG_DFL)
                    os.execvpe(command[0], command, env)
            except OSError as error:
                os.write(2, f"{command[0]}: {error.strerror}\n".encode())
            finally:
                os._exit(127)
        self.alive.add(pid)
        os.close(gate_out)
        try:
            _ptrace(PTRACE_SEIZE, pid, OPTIONS)
            os.write(gate_in, b"x")
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        finally:
            os.close(gate_in)
        return pid

    def wait(self, root):
        """Follows the tree until its last process has ended; notes root's status and its end."""
        while True:
            try:
                pid, state = os.waitpid(-1, WALL)
            except ChildProcessError:
                return
            if not os.WIFSTOPPED(state):
                self.alive.discard(pid)
                if pid == root:
                    self.status = os.waitstatus_to_exitcode(state)
                    self.ended = time.monotonic()
                    # What a program leaves behind it gets a moment to end by itself.
                    signal.setitimer(signal.ITIMER_REAL, DRAIN_SECONDS)
                continue
            self.alive.add(pid)
            # ESRCH means that a SIGKILL took it while it stood here; its end is reported next.
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                self._go_on(pid, os.WSTOPSIG(state), state >> 16)

    def _go_on(self, pid, number, event):
        if event == PTRACE_EVENT_EXIT:
            try:
                image = look(pid, self.library)
                if image:
                    self.images.append(image)
            finally:
                _ptrace(PTRACE_CONT, pid, 0)
        elif event == PTRACE_EVENT_STOP and number in STOPPING:
            _ptrace(PTRACE_LISTEN, pid, 0)
        else:
            _ptrace(PTRACE_CONT, pid, 0 if event else number)

    def end(self):
        """Kills by number what still runs, and waits for it. Harmless when nothing does."""
        # A process may fork while the others are being killed: its child reports itself and is
        # killed in turn, so the loop ends when waitpid has nothing left.
        for pid in list(self.alive):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while True:
            try:
                pid, state = os.waitpid(-1, WALL)
            except ChildProcessError:
                self.alive.clear()
                return
            if os.WIFSTOPPED(state):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    _ptrace(PTRACE_CONT, pid, 0)


def launch(command, *, preload, library, env, directory, scratch, limit_seconds):
    """Runs `command` to its end with LD_PRELOAD=preload and returns the Run.

    `library` is the resolved path whose mapping is noted in each Image; `scratch` is a directory
    for the two output files. Output goes to files and not to pipes, so that the reader's speed
    never shows in the time.
    """
    def over(_number, _frame):
        raise TimeLimit

    tree, run = Tree(library), Run()
    previous = signal.signal(signal.SIGALRM, over)
    out_path, err_path = scratch / "stdout", scratch / "stderr"
    try:
        with open(out_path, "wb") as out, open(err_path, "wb") as err:
            signal.setitimer(signal.ITIMER_REAL, limit_seconds)
            started = time.monotonic()
            root = tree.start([str(word) for word in command], {**env, "LD_PRELOAD": preload},
                              directory, out.fileno(), err.fileno())
            tree.wait(root)
            run.status, run.seconds = tree.status, tree.ended - started
    except TimeLimit:
        words = (f"it did not end within {limit_seconds} s" if tree.status is None else
                 f"it left a process behind that did not end within {DRAIN_SECONDS} s")
        errors = err_path.read_text(errors="replace").strip()[-2000:]
        raise TimeLimit(f"{words}; {errors or 'no word on stderr'}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        tree.end()
        signal.signal(signal.SIGALRM, previous)
    run.stdout, run.stderr = out_path.read_bytes(), err_path.read_bytes()
    run.images = tree.images
    return run

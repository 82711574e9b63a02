"""What the tests of this folder share: the program, its cores, and gdb."""

import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "gdb" / "hak.py"

# A core of a broken libhak may have the 100 GiB of its reservation.
FILE_BYTES_MAX = 4 << 30


def pytest_addoption(parser):
    for option, what in (("--library", "libhak.so"), ("--program", "the program of program.c"),
                         ("--static-program", "the same with libhak.a"),
                         ("--manual", "the manual that has the table of probes"),
                         ("--hakd", "the daemon"), ("--hakctl", "its command"),
                         ("--build", "the folder to install from"), ("--cmake", "cmake")):
        parser.addoption(option, type=pathlib.Path, help=what)


def bound():
    """Of the children: where they may leave a core, and how much they may write."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (FILE_BYTES_MAX, FILE_BYTES_MAX))


class Program:
    """program.c at work, after it said "ready"; said holds its lines by their first word."""

    def __init__(self, command, folder, library=None, extra=None):
        environment = {**os.environ, **(extra or {})}
        environment.pop("LD_PRELOAD", None)
        environment.setdefault("HAK_REGISTER", "no")
        if library is not None:
            environment["LD_PRELOAD"] = str(library)
        self.path = command[0]
        self.folder = folder
        self.process = subprocess.Popen(command, cwd=folder, env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        preexec_fn=bound)
        self.pid = self.process.pid
        self.said = {}
        for line in self.process.stdout:
            word, *rest = line.split()
            if word == "ready":
                return
            self.said[word] = rest[0] if len(rest) == 1 else rest
        raise AssertionError(f"{command} ended with {self.process.wait()}")

    def gcore(self):
        path = self.folder / "gcore"
        done = subprocess.run(["gcore", "-o", path, str(self.pid)], text=True, timeout=100,
                              capture_output=True, check=False, preexec_fn=bound)
        path = path.with_suffix(f".{self.pid}")
        assert done.returncode == 0 and path.exists(), done.stdout + done.stderr
        return path

    def kernel_core(self):
        """Ends the program by SIGABRT. Where its core goes is the machine's to say."""
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text("ascii").strip()
        if not re.fullmatch(r"[\w.%-]+", pattern):
            pytest.skip(f"cores of the kernel go to {pattern!r}, not to the folder of the process")
        self.process.stdin.write("abort\n")
        self.process.stdin.flush()
        assert self.process.wait(60) == -signal.SIGABRT
        cores = [path for path in self.folder.iterdir() if not path.name.startswith("gcore")]
        assert len(cores) == 1, f"no core of the kernel among {cores}"
        return cores[0]

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Gdb:
    """gdb without anybody's settings; each command's output by itself."""

    MARK = "---- next"

    def __init__(self, *arguments):
        self.arguments = arguments

    def run(self, *commands, timeout=60):
        """What each command printed. A gdb command that fails prints its sentence too."""
        line = ["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off",
                "-ex", "set width 0", "-ex", f"source {SCRIPT}"]
        for command in commands:
            line += ["-ex", f"echo {self.MARK}\\n", "-ex", command]
        line += ["-ex", f"echo {self.MARK}\\n"]
        done = subprocess.run([*line, *map(str, self.arguments)], text=True, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              stdin=subprocess.DEVNULL)
        # Of a core by a kernel whose processor has more registers than this gdb knows it says so.
        said = re.sub(r"(?m)^warning: Section `\.reg-xstate/\d+' in core file too small\.\n", "",
                      done.stdout)
        parts = said.split(self.MARK + "\n")
        assert len(parts) == len(commands) + 2, said
        return [part.rstrip("\n") for part in parts[1:-1]]


@pytest.fixture
def option(request):
    return request.config.getoption


@pytest.fixture
def start(option, tmp_path):
    """Starts the program with libhak preloaded, with another library, or with none."""
    programs = []

    def started(*words, library=option("--library"), program=option("--program"), **extra):
        programs.append(Program([program, *words], tmp_path, library, extra))
        return programs[-1]

    yield started
    for program in programs:
        program.end()
    shutil.rmtree(tmp_path)

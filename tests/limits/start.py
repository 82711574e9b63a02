#!/usr/bin/python3
"""What must hold before a program starts: start.py CASE LIBRARY PROGRAM [STATIC_PROGRAM]

Goal    under RLIMIT_AS, RLIMIT_DATA, vm.overcommit_memory=2, without descriptors to spare, in an
        empty root, malloc works to its end, says ENOMEM there, and works again; with huge pages
        for everybody a small program stays small; in a control group huge blocks are kept by its
        limit, also where libhak came by dlopen.
Method  PROGRAM is limits_imposed, run with LIBRARY preloaded, STATIC_PROGRAM the same without
        dynamic linking. What is the whole machine's is set for as long as the program runs, with
        room for what else runs meanwhile, and set back, also where this is told to end.
"""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

MIB = 1 << 20
VM = "/proc/sys/vm/"


def skip(*words):
    print("skipped:", *words)
    sys.exit(77)


def run(command, library, limits=(), **options):
    def limit():
        for which, value in limits:
            resource.setrlimit(which, (value, value))

    variables = {"LD_PRELOAD": library} if library else {}
    done = subprocess.run(command, env={"PATH": os.environ["PATH"], **variables}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30,
                          preexec_fn=limit, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}"
    return done.stdout


def read(path):
    """A setting; of those that list all choices, the one in brackets."""
    with open(path, encoding="ascii") as file:
        text = file.read().strip()
    choice = re.search(r"\[(\w+)\]", text)
    return choice.group(1) if choice else text


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(text))


@contextlib.contextmanager
def setting(*pairs):
    """Each (path, text) is set, in this order, and set back in the other one."""
    for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signal_number, lambda *_: sys.exit(1))
    with contextlib.ExitStack() as stack:
        for path, text in pairs:
            before = read(path)
            if not os.access(path, os.W_OK):
                skip(f"{path} cannot be set here")
            stack.callback(write, path, before)
            write(path, text)
        yield


def memory_info(name):
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    raise AssertionError(name)


class Cases:
    def __init__(self, library, program, static_program=None):
        self.library = library
        self.program = program
        self.static_program = static_program

    def address_space(self):
        """Half of it is the region, for small blocks; huge ones have the rest. 64 MiB are less than
        the smallest heap would like."""
        run([self.program, "end", "60"], self.library, [(resource.RLIMIT_AS, 256 * MIB)])
        run([self.program, "end_of_little", "5"], self.library, [(resource.RLIMIT_AS, 64 * MIB)])

    def data(self):
        limits = [(resource.RLIMIT_DATA, 150 * MIB)]
        run([self.program, "live"], self.library, limits)
        run([self.program, "end_of_little", "30"], self.library, limits)

    def guards(self):
        run([self.program, "end_of_runs", "80"], self.library,
            [(resource.RLIMIT_DATA, 150 * MIB)])

    def commit(self):
        """What is reserved counts for nothing. What a process has mapped is the kernel's measure of
        what it must leave to others: of the reservation that is the whole gibibyte set here. The
        program has 400 MiB, and shares them with whoever else wants more now."""
        reserve_kib = 1 << 20
        most_kib = memory_info("Committed_AS") + reserve_kib + (400 << 10)
        if memory_info("MemTotal") < 2 * most_kib:
            skip("not enough memory to be sure that nobody else comes to feel it")
        with setting((VM + "user_reserve_kbytes", reserve_kib),
                     (VM + "overcommit_ratio", read(VM + "overcommit_ratio")),
                     (VM + "overcommit_kbytes", most_kib),
                     (VM + "overcommit_memory", 2)):
            if abs(memory_info("CommitLimit") - most_kib) > 1024:
                skip("the kernel has another limit than the one set")
            run([self.program, "live"], self.library)
            run([self.program, "end_of_little", "30"], self.library,
                [(resource.RLIMIT_DATA, 2048 * MIB)])

    def huge_pages(self):
        """The heap's first page is no reason for two megabytes."""
        never = int(run([self.program, "small"], self.library))
        with setting(("/sys/kernel/mm/transparent_hugepage/enabled", "always")):
            always = int(run([self.program, "small"], self.library))
            run([self.program, "live"], self.library)
        assert always <= never + MIB, (never, always)

    def descriptors(self):
        run([self.program, "descriptors"], self.library, [(resource.RLIMIT_AS, 1024 * MIB)])

    def empty_root(self):
        if os.geteuid() != 0:
            skip("only root may change its root")
        with tempfile.TemporaryDirectory() as root:
            shutil.copy(self.static_program, root)
            name = "/" + os.path.basename(self.static_program)
            run(["chroot", root, name, "end", "60"], None, [(resource.RLIMIT_AS, 256 * MIB)])

    def container(self):
        """PROGRAM is limits_late here. Of a control group of 128 MiB a thirty-second may be kept,
        not 64 MiB, as of the machine."""
        group, limit = "/sys/fs/cgroup/memory/hak-limits", "memory.limit_in_bytes"
        if not os.path.isdir("/sys/fs/cgroup/memory"):
            group, limit = "/sys/fs/cgroup/hak-limits", "memory.max"
        keeps = f"exec {self.program} {self.library} keeps"
        try:
            os.mkdir(group)
            write(f"{group}/{limit}", 128 * MIB)
        except OSError as error:
            skip("no control group can be made here:", error)
        try:
            kept = int(run(["sh", "-c", f"echo $$ > {group}/cgroup.procs && {keeps}"], None))
            assert kept <= 5 * MIB, kept
            assert int(run(["sh", "-c", keeps], None)) >= 30 * MIB
        finally:
            os.rmdir(group)


if __name__ == "__main__":
    getattr(Cases(*sys.argv[2:]), sys.argv[1])()

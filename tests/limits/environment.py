#!/usr/bin/python3
"""Little of something: usage: environment.py CASE LIBRARY FOLDER

Goal    with little address space, data, commit, mappings or static TLS, with all memory locked,
        loaded by hand beside another malloc, or with huge pages everywhere, libhak works or says
        ENOMEM; it never crashes and never gives what is not there.
Method  FOLDER has the programs; each case starts one of them under its limit. What belongs to the
        whole machine is set for the second that the case takes and set back whatever happens.
"""

import contextlib
import os
import re
import resource
import subprocess
import sys

MIB = 1 << 20


def need_root():
    if os.geteuid() != 0:
        print("needs root")
        sys.exit(77)


@contextlib.contextmanager
def setting_of_machine(path, value):
    need_root()
    with open(path, encoding="ascii") as file:
        before = file.read()
    before = re.search(r"\[(\w+)\]", before).group(1) if "[" in before else before.strip()
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        print(f"{path} cannot be set here: {error}")
        sys.exit(77)
    try:
        yield
    finally:
        with open(path, "w", encoding="ascii") as file:
            file.write(before)


class Cases:
    def __init__(self, library, folder):
        self.library = library
        self.program = os.path.join(folder, "limits_environment")
        self.folder = folder

    def run(self, case, limits=(), status=0, preload=True, program=None, **variables):
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith("HAK_")}
        environment.update(LIBRARY=self.library, **variables)

        def limit():
            if preload:
                os.environ["LD_PRELOAD"] = self.library
            for what, amount in limits:
                resource.setrlimit(what, (amount, amount))

        if preload:
            environment["LD_PRELOAD"] = self.library
        done = subprocess.run([program or self.program, case], env=environment, text=True,
                              timeout=60, preexec_fn=limit, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        assert done.returncode == status, f"{case}: {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def address_space(self):
        """256 MiB, and less than the smallest heap would like."""
        got = [int(self.run("lives", [(resource.RLIMIT_AS, amount * MIB)]).stdout)
               for amount in (1024, 256, 64)]
        assert got[0] == 1500 and 700 < got[1] <= 1500 and 0 < got[2] < 1500, got

    def data(self):
        got = int(self.run("lives", [(resource.RLIMIT_DATA, 64 * MIB)]).stdout)
        assert 0 < got < 1500, got
        assert int(self.run("lives", [(resource.RLIMIT_DATA, 2048 * MIB)]).stdout) == 1500

    def commit(self):
        """What is reserved counts for nothing where the kernel counts all that is promised."""
        with setting_of_machine("/proc/sys/vm/overcommit_memory", "2"):
            assert int(self.run("lives").stdout) == 1500

    def mappings(self):
        assert int(self.run("has_no_mappings").stdout) >= 0

    def locked_memory(self):
        need_root()
        self.run("locks_first")
        self.run("locks_later")

    def huge_pages(self):
        """A small program stays one: the heap's first page is no reason for two megabytes."""
        never = int(self.run("is_small").stdout)
        with setting_of_machine("/sys/kernel/mm/transparent_hugepage/enabled", "always"):
            always = int(self.run("is_small").stdout)
            glibc = int(self.run("is_small", preload=False).stdout)
            assert int(self.run("lives").stdout) == 1500
        assert always <= max(never, glibc) + MIB, (never, always, glibc)

    def loaded(self):
        self.run("loads_locally", preload=False)
        self.run("loads_globally", preload=False)
        said = self.run("mixes_two_mallocs", preload=False, status=-6).stderr
        assert "which is not memory of this allocator" in said, said

    def static_tls(self):
        little, much = (os.path.join(self.folder, f"liblimits_tls_eater_{amount}.so")
                        for amount in (400, 1500))
        assert self.run("loads_with_little_tls", preload=False, EATER=little).stdout == "loaded\n"
        assert self.run("loads_with_little_tls", preload=False, EATER=much).stdout == "refused\n"
        self.run("loads_a_tls_eater", EATER=much)
        self.run("loads_and_unloads", EATER=little)

    def ends(self):
        self.run("frees_at_exit")

    def own_malloc(self):
        said = self.run("", program=os.path.join(self.folder, "limits_own_malloc"))
        assert (said.stdout, said.stderr) == ("own\n", ""), said


if __name__ == "__main__":
    getattr(Cases(sys.argv[2], sys.argv[3]), sys.argv[1])()

"""A booted systemd, in namespaces, over an overlay of this host's files.

Machine(build) installs what is built into the overlay and boots it; `with` ends it. Nothing of it
outlives this process: mounts are private to it and vanish with it, and so do the machine's
processes, as their process 1 is killed when its parent ends. Its cgroups and its folder are removed
at the end, or by the next run where this one was killed.
"""

import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
BOOT_SECONDS = 30
COMMAND_SECONDS = 20
HERE = pathlib.Path(__file__).resolve().parent
PR_SET_PDEATHSIG = 1
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
PREFIX = "hak-machine."  # of the names of folders and cgroups; then comes the pid


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def enter_own_mounts():
    """Goes on as the same script in a mount namespace of its own; skips where that cannot be."""
    if os.geteuid() != 0:
        skip("needs root")
    if not os.path.exists("/lib/systemd/systemd"):
        skip("systemd is not installed")
    if os.environ.get("HAK_OWN_MOUNTS") == str(os.getpid()):
        # As an exception, so that everything is cleaned up.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
        return
    os.environ["HAK_OWN_MOUNTS"] = str(os.getpid())
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"]).returncode != 0:
        skip("this user may not make namespaces")
    os.execvp("unshare", ["unshare", "--mount", "--propagation=private", "--", sys.executable,
                          *sys.argv])


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True)


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def stale(folder):
    """What runs that were killed have left there."""
    return [path for path in folder.glob(PREFIX + "*")
            if not os.path.exists("/proc/" + path.name.removeprefix(PREFIX))]


def remove_cgroup(path):
    for folder, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            pass  # a process of it is not quite gone, or another test's


class Machine:
    def __init__(self, build):
        self.build = build
        self.process = None  # unshare, the parent of the machine's process 1
        self.leader = None  # that process 1, as this host counts
        self.cgroup = None
        for folder in stale(pathlib.Path(tempfile.gettempdir())):
            folder.rmdir()
        self.folder = pathlib.Path(tempfile.gettempdir()) / f"{PREFIX}{os.getpid()}"
        self.folder.mkdir(mode=0o700)

    def __enter__(self):
        try:
            self.make_root()
            self.make_cgroup()
            self.boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.leader is not None:
            try:
                os.kill(self.leader, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        if self.cgroup is not None:
            for _ in range(50):
                remove_cgroup(self.cgroup)
                if not self.cgroup.exists():
                    break
                time.sleep(0.1)
        subprocess.run(["umount", "--lazy", "--recursive", self.folder], check=False)
        self.folder.rmdir()

    def make_root(self):
        """The overlay: this host's files below, what is installed and changed above, in memory."""
        mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", self.folder)
        for name in ("upper", "work", "root", "cgroup"):
            (self.folder / name).mkdir()
        self.upper = self.folder / "upper"
        subprocess.run(["cmake", "--install", self.build, "--prefix", "/usr"],
                       env=dict(os.environ, DESTDIR=str(self.upper)), check=True,
                       stdout=subprocess.DEVNULL)
        # Nothing that somebody has enabled or configured on this host.
        for name in ("etc/systemd/system", "etc/systemd/journald.conf.d", "var/log/journal",
                     "etc/hak"):
            folder = self.upper / name
            folder.mkdir(parents=True)
            os.setxattr(folder, "trusted.overlay.opaque", b"y")
        self.write("etc/systemd/journald.conf.d/test.conf",
                   "[Journal]\nStorage=volatile\nAudit=keep\nReadKMsg=no\n")
        self.write("etc/machine-id", os.urandom(16).hex() + "\n")
        self.write("etc/hostname", "hak-test\n")
        self.write("etc/fstab", "")
        mount("-t", "overlay", "-o", f"lowerdir=/,upperdir={self.upper},"
              f"workdir={self.folder}/work", "overlay", self.folder / "root")

    def write(self, name, text):
        path = self.upper / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def make_cgroup(self):
        root = self.folder / "cgroup"
        mount("-t", "cgroup2", "cgroup2", root)
        for group in stale(root):
            remove_cgroup(group)
        self.cgroup = root / f"{PREFIX}{os.getpid()}"
        self.cgroup.mkdir()

    def boot(self):
        def prepare():
            die_with_parent()
            (self.cgroup / "cgroup.procs").write_text(str(os.getpid()))

        self.console = open(self.folder / "console", "w+")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--uts", "--ipc",
             "--net", "--cgroup", HERE / "boot.sh", self.folder / "root"],
            preexec_fn=prepare, stdin=subprocess.DEVNULL, stdout=self.console,
            stderr=subprocess.STDOUT)
        deadline = time.monotonic() + BOOT_SECONDS
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.show()
                raise AssertionError("systemd does not boot")
            time.sleep(0.1)

    def is_up(self):
        if self.leader is None:
            children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            self.leader = next(map(int, children.read_text().split()), None)
            return False
        # Before that it is boot.sh, whose root is this host's, and so would be whom we ask.
        if pathlib.Path(f"/proc/{self.leader}/comm").read_text() != "systemd\n":
            return False
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def entrance(self):
        """What a command begins with that is to run there."""
        return ["nsenter", "-t", str(self.leader), "-m", "-p", "-u", "-i", "-n", "-C", "--root",
                "--wd"]

    def run(self, *words, user=None, group="nogroup"):
        """Runs a command there, of root's or without any right; its status and what it printed."""
        become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        return subprocess.run(self.entrance() + (become if user else []) + list(words), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=COMMAND_SECONDS,
                              env=ENVIRONMENT, preexec_fn=die_with_parent)

    def show(self):
        """What there is to read after a failure."""
        print("--- console\n" + (self.folder / "console").read_text())
        if self.leader is not None:
            for words in (("systemctl", "--no-pager", "status", "hakd*"),
                          ("journalctl", "--no-pager", "-b", "-n", "200")):
                print("---", *words)
                print(self.run(*words).stdout)
        sys.stdout.flush()

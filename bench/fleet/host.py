"""What the fleet's programs run under: an allocator with its settings, and for libhak a hakd of its
own.

A configuration is a name, a library to preload (None: the C library's malloc) and settings in the
environment. Peers take part as they are and once more with settings that make them give back what
is free.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench"))

from side_by_side.libraries import installed_library  # noqa: E402
from side_by_side.rows import DEBIAN_PEERS  # noqa: E402
from side_by_side.runs import ALLOCATOR_SETTINGS  # noqa: E402

BUILD = ROOT / "build" / "release"
MIB = 1 << 20

# Settings by which each gives back what it has, as its manual has them; jemalloc after a second, as
# libhak does.
RELEASING = {
    "jemalloc": {"MALLOC_CONF": "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0"},
    "mimalloc": {"MIMALLOC_PURGE_DELAY": "0", "MIMALLOC_RESET_DELAY": "0"},
    "tcmalloc": {"TCMALLOC_RELEASE_RATE": "10"},
    "gperftools": {"TCMALLOC_RELEASE_RATE": "10"},
    "glibc": {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536"},
}


@dataclasses.dataclass(frozen=True)
class Configuration:
    name: str
    library: pathlib.Path | None
    settings: tuple = ()
    has_daemon: bool = False
    policy: str = ""  # hakd.conf, where it is not the default


# libhak at its release setting.
HAK_RELEASING = Configuration("libhak + hakd releasing", BUILD / "libhak" / "libhak.so",
                              has_daemon=True,
                              policy="[policy all]\nagent = yes\n")


def configurations_of(more_peers, without="", more=()):
    """libhak with hakd first, then every peer, as it is and at its release settings."""
    library = BUILD / "libhak" / "libhak.so"
    found = [Configuration("libhak + hakd", library, has_daemon=True), *more,
             Configuration("libhak", library)]
    peers = {"glibc": None}
    for name, file_name in DEBIAN_PEERS.items():
        path = installed_library(file_name)
        if path:
            peers[name] = path
    peers.update(more_peers)
    for name, path in peers.items():
        found.append(Configuration(name, path))
        releasing = RELEASING.get(re.sub("[0-9.]+$", "", name))
        if releasing:
            found.append(Configuration(f"{name} releasing", path, tuple(releasing.items())))
    return [one for one in found if not re.fullmatch(without, one.name)]


class Host:
    """A folder of its own, and the environment of programs in it. With a daemon where the
    configuration says so."""

    def __init__(self, configuration, folder, *hakd_options):
        self.configuration, self.folder = configuration, pathlib.Path(folder)
        self.hakd = None
        # As for Ctrl-C: who is told to end, ends what it has started.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        # Programs of other users (postgres) must reach their files.
        self.folder.chmod(0o755)
        self.environment = {key: value for key, value in os.environ.items()
                            if not ALLOCATOR_SETTINGS.fullmatch(key)}
        self.environment.update(PYTHONMALLOC="malloc", **dict(configuration.settings))
        if configuration.library:
            self.environment["LD_PRELOAD"] = str(configuration.library)
        self.environment["HAK_SOCKET"] = str(self.folder / "client")
        if configuration.has_daemon:
            self.start_hakd(*hakd_options)

    def start_hakd(self, *options):
        policy = self.folder / "hakd.conf"
        policy.write_text(self.configuration.policy, "utf-8")
        self.hakd = subprocess.Popen(
            [BUILD / "hakd" / "hakd", "--runtime-dir", self.folder, "--config", policy, *options],
            stderr=open(self.folder / "hakd.log", "ab"), start_new_session=True)
        end = time.monotonic() + 10
        while not (self.folder / "control").exists():
            if self.hakd.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "hakd.log").read_text("utf-8"))
            time.sleep(0.02)

    def daemon_pids(self):
        return [self.hakd.pid, *descendants_of(self.hakd.pid)] if self.hakd else []

    def end(self):
        if self.hakd is None:
            return
        self.hakd.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.hakd.wait(10)
        self.hakd.kill()
        self.hakd.wait()


def descendants_of(pid):
    found = []
    for path in pathlib.Path("/proc", str(pid), "task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text("ascii").split():
                found += [int(child), *descendants_of(int(child))]
    return found


# A thread's kernel stack on x86-64 (THREAD_SIZE).
KERNEL_STACK_BYTES = 16 << 10


def memory_of(pids):
    """The sum of Pss and of kernel stacks, in bytes. Who has ended meanwhile counts 0."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, AttributeError):
            rollup = pathlib.Path("/proc", str(pid), "smaps_rollup").read_text("ascii")
            total += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE).group(1)) << 10
            total += len(os.listdir(f"/proc/{pid}/task")) * KERNEL_STACK_BYTES
    return total


def build(*targets):
    """Brings build/release up to date: a measurement of old machine code is worth nothing."""
    for step in (["--preset", "release"], ["--build", str(BUILD), "--target", *targets]):
        subprocess.run(["cmake", *step], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


class UnixConnection(http.client.HTTPConnection):
    """HTTP on hakd's control socket."""

    def __init__(self, path):
        super().__init__("hak", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(host, method, path, body=None):
    """(status, what was answered: JSON as Python has it, anything else as text)."""
    connection = UnixConnection(str(host.folder / "control"))
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read().decode()
        is_json = answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(text) if is_json else text
    finally:
        connection.close()

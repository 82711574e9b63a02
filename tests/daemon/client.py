"""A client of hakd as a script can be one: the bytes of proto/README.md, written by hand.

By itself a program for tests that need a process of their own: `client.py SOCKET`, for a process
that registers, says its pid on a line and lives until its stdin ends.
"""

import array
import contextlib
import ctypes
import fcntl
import mmap
import os
import pathlib
import re
import select
import socket
import struct
import sys
import threading
import time

F_ADD_SEALS = 1033
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE = 1, 2, 4, 8, 16
SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW

MAGIC = b"hakHELLO"
HELLO_BYTES = 296
MAILBOX, TELEMETRY, SUPERSLABS = 0, 4096, 8192
MAILBOX_WORDS = ("sequence", "daemon_seen", "epoch", "soft_budget_bytes", "hard_budget_bytes",
                 "trim_request", "trim_target_bytes", "purge_level", "decay_ns",
                 "magazine_bytes_max", "flags", "reserved")
HEADER_WORDS = ("sequence", "version", "metric_count", "class_count", "pid", "updated_ns",
                "started_ns", "trim_ack", "trim_before_bytes", "trim_after_bytes",
                "trim_released_bytes")
CLASSES = 1024

METRICS_DEF = pathlib.Path(__file__).resolve().parents[2] / "proto/metrics.def"
METRICS = re.findall(r"^METRIC\((\w+), (\w+), \"(\w+)\"", METRICS_DEF.read_text(), re.M)
METRIC_NAMES = [field for _, field, _ in METRICS]


def page_bytes(superslab_count):
    return -(-(SUPERSLABS + 128 * superslab_count) // 65536) * 65536


def hello(superslab_count=1, magic=MAGIC, version=1, size=HELLO_BYTES, base=1 << 40,
          library_version=1 << 16, exe=b""):
    return struct.pack("<8sHHIQQQ256s", magic, version, size, superslab_count, base,
                       library_version, 0, exe)


def make_memfd(size=None, seals=SEALS, flags=os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING):
    fd = os.memfd_create("hak", flags)
    os.ftruncate(fd, page_bytes(1) if size is None else size)
    if seals:
        fcntl.fcntl(fd, F_ADD_SEALS, seals)
    return fd


def punch(fd, size):
    """The file's first bytes are a hole from here on."""
    keep_size, punch_hole = 1, 2
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(fd, keep_size | punch_hole, ctypes.c_long(0), ctypes.c_long(size)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def send(path, message, fds=()):
    """Sends one message with any number of descriptors and returns the connection."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(path))
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    connection.sendmsg([message], ancillary)
    return connection


class MemoryThatDoesNotCome:
    """A page whose first use waits (userfaultfd(2)), as one of a file system that hangs would."""

    USERFAULTFD, API, REGISTER, MISSING = 323, 0xC018AA3F, 0xC020AA00, 1

    def __init__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.syscall(self.USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        fcntl.ioctl(self.fd, self.API, struct.pack("<3Q", 0xAA, 0, 0))
        self.map = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        fcntl.ioctl(self.fd, self.REGISTER,
                    struct.pack("<4Q", self.address, mmap.PAGESIZE, self.MISSING, 0))

    @contextlib.contextmanager
    def written_to(self, fd):
        """A thread is in write(2) to the descriptor from it, and stays there meanwhile."""
        writer = threading.Thread(target=self.libc.write,
                                  args=(fd, ctypes.c_void_p(self.address), mmap.PAGESIZE))
        writer.start()
        # It says that somebody waits for the page.
        assert select.select([self.fd], [], [], 5)[0]
        try:
            yield
        finally:
            os.close(self.fd)
            writer.join()


class Page:
    """A memfd as libhak makes it, and what lies in it."""

    def __init__(self, superslab_count=1):
        self.superslab_count = superslab_count
        self.fd = make_memfd(page_bytes(superslab_count))
        self.map = mmap.mmap(self.fd, page_bytes(superslab_count))
        self.sequence = 0

    def register(self, path):
        send(path, hello(self.superslab_count), [self.fd]).close()

    def mailbox(self):
        words = struct.unpack_from(f"<{len(MAILBOX_WORDS)}Q", self.map, MAILBOX)
        return dict(zip(MAILBOX_WORDS, words))

    def wait_for_mailbox(self, field, value, seconds=5):
        end = time.monotonic() + seconds
        while self.mailbox()[field] != value:
            if time.monotonic() > end:
                raise TimeoutError(f"{field} is not {value}: {self.mailbox()}")
            time.sleep(0.005)
        return self.mailbox()

    def publish(self, classes=(), version=1, **words):
        """Writes telemetry: words of the header and metrics by name, the others 0."""
        self.sequence += 2
        header = dict(version=version, metric_count=len(METRIC_NAMES), class_count=len(classes) + 1,
                      pid=os.getpid(), updated_ns=time.monotonic_ns(), started_ns=1)
        header.update({name: words.pop(name) for name in HEADER_WORDS if name in words})
        metrics = [words.pop(name, 0) for name in METRIC_NAMES]
        assert not words, f"no such words: {words}"
        body = bytearray(3072)
        struct.pack_into(f"<{len(HEADER_WORDS)}Q", body, 0, self.sequence,
                         *(header.get(name, 0) for name in HEADER_WORDS[1:]))
        struct.pack_into(f"<{len(metrics)}Q", body, 128, *metrics)
        for index, row in enumerate(classes, 1):
            struct.pack_into("<4Q", body, CLASSES + 32 * index, *row)
        self.map[TELEMETRY:TELEMETRY + len(body)] = bytes(body)

    def fill(self, byte):
        self.map[TELEMETRY:TELEMETRY + 3072] = bytes([byte]) * 3072

    def close(self):
        self.map.close()
        os.close(self.fd)


def reserve(size):
    """Address space that costs nothing: more than that no process is believed to hold."""
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, mmap.PROT_READ)


def set_comm(name):
    ctypes.CDLL(None).prctl(15, name)


def main(path, *names):
    """client.py SOCKET [NAME [LIVE OPENED [RESERVED]]]: a process of its own."""
    if names:
        set_comm(os.fsencode(names[0]))
    page = Page()
    live, opened = (int(text) for text in names[1:3]) if len(names) > 2 else (4096, 3)
    reserved = reserve(int(names[3])) if len(names) > 3 else None  # kept until the end
    page.publish(live_bytes=live, superslab_opened_total=opened)
    page.register(path)
    page.wait_for_mailbox("daemon_seen", page.mailbox()["daemon_seen"] or 1)
    print(os.getpid(), flush=True)
    for line in sys.stdin:
        if line == "exec\n":
            os.execv("/bin/cat", ["cat"])
        if line == "again\n":
            Page().register(path)
    del reserved


if __name__ == "__main__":
    main(*sys.argv[1:])

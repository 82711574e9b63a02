"""Goal    hakd-advisor does what its one message asks within its bounds and refuses all else; a
        client that lies in its table loses nothing but time.
Method  the advisor over a socket pair, and a hakd that root has started with one. What is advised
        are pages of this process: mapped, filled, and marked MADV_FREE by hand.
"""

import array
import ctypes
import errno
import mmap
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import time

import pytest

import client
from conftest import NOBODY, wait_for

ME = os.getpid()
PAGE = 4096
MIB = 1 << 20
SUPERSLAB = 2 * MIB
LOOK, PAGEOUT, COLD, COLLAPSE = range(4)
READY, DONE, GONE, LIMITED, REFUSED, UNABLE = range(6)
ANSWER = struct.Struct("<8sHHIQQQQQQII")
FIELDS = ("magic", "version", "result", "dropped_count", "number", "advised_bytes",
          "released_bytes", "swapped_bytes", "wait_ns", "duration_ns", "error", "reserved")
MADV_FREE = 8

LIBC = ctypes.CDLL(None, use_errno=True)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Region:
    """Memory as libhak's: it begins at a multiple of 2 MiB, and every page has its number in it."""

    def __init__(self, superslab_count):
        self.count = superslab_count
        self.bytes = superslab_count * SUPERSLAB
        self.map = mmap.mmap(-1, self.bytes + SUPERSLAB,
                             flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.base = -(-start // SUPERSLAB) * SUPERSLAB
        self.offset = self.base - start
        self.map.madvise(mmap.MADV_NOHUGEPAGE)
        self.fill()

    def fill(self):
        for page in range(self.bytes // PAGE):
            struct.pack_into("<Q", self.map, self.offset + page * PAGE, page + 1)

    def is_whole(self, pages=None):
        return all(struct.unpack_from("<Q", self.map, self.offset + page * PAGE)[0] == page + 1
                   for page in pages or range(self.bytes // PAGE))

    def free(self, page=0, count=None):
        count = self.bytes // PAGE - page if count is None else count
        assert LIBC.madvise(ctypes.c_void_p(self.base + page * PAGE),
                            ctypes.c_size_t(count * PAGE), MADV_FREE) == 0


def resident():
    text = pathlib.Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"^Rss:\s+(\d+)", text, re.M)[1]) << 10


def request(page, region, ranges, advice=PAGEOUT, **changes):
    status = os.fstat(page.fd)
    fields = dict(magic=b"hakADVIS", version=1, advice=advice, range_count=len(ranges), number=7,
                  device_major=os.major(status.st_dev), device_minor=os.minor(status.st_dev),
                  inode=status.st_ino, region_base=region.base, superslab_count=region.count,
                  reserved=0)
    fields.update(changes)
    head = struct.pack("<8sHHIQIIQQII", *fields.values())
    return head + b"".join(struct.pack("<II", *one) for one in ranges)


class Advisor:
    def __init__(self, *options):
        self.socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = pathlib.Path(os.environ["HAKD"]).parent / "hakd-advisor"
        self.process = subprocess.Popen([program, "--connection", str(other.fileno()), *options],
                                        pass_fds=[other.fileno()])
        other.close()
        self.socket.settimeout(10)
        self.greeting = self.answer()

    def answer(self):
        return dict(zip(FIELDS, ANSWER.unpack(self.socket.recv(4096))))

    def send(self, message, fds):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([message], ancillary)

    def ask(self, message, *fds):
        self.send(message, fds)
        return self.answer()

    def end(self):
        self.socket.close()
        return self.process.wait(10)


@pytest.fixture
def advisor():
    made = Advisor()
    try:
        yield made
    finally:
        status = made.end()
    assert status == 0


@pytest.fixture
def own_page():
    page = client.Page()
    yield page
    page.close()


@pytest.fixture
def region():
    return Region(4)


@pytest.fixture
def own_pidfd():
    pidfd = os.pidfd_open(ME)
    yield pidfd
    os.close(pidfd)


def test_what_is_marked_goes(advisor, own_page, region, own_pidfd):
    assert advisor.greeting["result"] == READY and advisor.greeting["number"] == 0
    region.free(0, 512)
    before = resident()
    answer = advisor.ask(request(own_page, region, [(0, 512)]), own_pidfd)
    assert (answer["result"], answer["number"], answer["dropped_count"]) == (DONE, 7, 0)
    assert answer["advised_bytes"] == 2 * MIB
    assert 2 * MIB - 64 * PAGE <= before - resident() and answer["released_bytes"] > MIB
    assert region.is_whole(range(512, 2048))
    assert not region.is_whole([100])


def test_what_is_not_marked_stays(advisor, own_page, region, own_pidfd):
    """With no swap; with it, it comes back."""
    region.free()
    region.fill()
    for first in (0, 1024):
        answer = advisor.ask(request(own_page, region, [(first, 1024)]), own_pidfd)
        assert answer["result"] == DONE and answer["advised_bytes"] == 4 * MIB
    assert region.is_whole()


def test_other_advice(advisor, own_page, region, own_pidfd):
    for advice in (COLD, COLLAPSE):
        answer = advisor.ask(request(own_page, region, [(0, 512)], advice), own_pidfd)
        assert answer["result"] == DONE
        assert answer["dropped_count"] == 0 or answer["error"] in (errno.EINVAL, errno.EAGAIN,
                                                                  errno.ENOMEM)
    assert advisor.ask(request(own_page, region, [], LOOK), own_pidfd)["result"] == DONE
    assert region.is_whole()


def test_a_range_that_fails_is_skipped(advisor, own_page, region, own_pidfd):
    """A hole in the address space, and locked memory, between two good ranges."""
    other = Region(4)
    hole = other.base + 512 * PAGE
    assert LIBC.munmap(ctypes.c_void_p(hole), ctypes.c_size_t(16 * PAGE)) == 0
    other.free(0, 256)
    locked = ctypes.c_void_p(other.base + 600 * PAGE)
    assert LIBC.mlock(locked, ctypes.c_size_t(4 * PAGE)) == 0
    answer = advisor.ask(request(own_page, other, [(0, 256), (512, 16), (600, 4), (700, 8)]),
                         own_pidfd)
    assert answer["result"] == DONE and answer["dropped_count"] == 2, answer
    assert answer["advised_bytes"] == (256 + 8) * PAGE
    assert answer["error"] in (errno.ENOMEM, errno.EINVAL)
    assert LIBC.munlock(locked, ctypes.c_size_t(4 * PAGE)) == 0
    other.map = None  # nobody may touch the hole; it is never unmapped


REFUSED_MESSAGES = {
    "noise": lambda page, region: b"\xff" * 100,
    "empty region": lambda page, region: request(page, region, [(0, 1)], superslab_count=0),
    "beyond the region": lambda page, region: request(page, region, [(2047, 2)]),
    "far beyond": lambda page, region: request(page, region, [(1 << 31, 1)]),
    "more than 4 MiB": lambda page, region: request(page, region, [(0, 1025)]),
    "1,025 ranges": lambda page, region: request(page, region, [(i, 1) for i in range(1025)]),
    "out of order": lambda page, region: request(page, region, [(5, 1), (4, 1)]),
    "base within a SuperSlab": lambda page, region: request(page, region, [(0, 1)],
                                                            region_base=region.base + PAGE),
    "kernel addresses": lambda page, region: request(page, region, [(0, 1)],
                                                     region_base=(1 << 64) - SUPERSLAB),
    "other advice": lambda page, region: request(page, region, [(0, 1)], 4),
    "other version": lambda page, region: request(page, region, [(0, 1)], version=2),
    "cut": lambda page, region: request(page, region, [(0, 1)])[:-1],
    "longer": lambda page, region: request(page, region, [(0, 1)]) + b"\0",
    "the longest": lambda page, region: bytes(20000),
}


@pytest.mark.parametrize("name", REFUSED_MESSAGES)
def test_refused_messages(advisor, own_page, region, own_pidfd, name):
    region.free()
    message = REFUSED_MESSAGES[name](own_page, region)
    before = resident()
    assert advisor.ask(message, own_pidfd)["result"] == REFUSED
    assert before - resident() < MIB
    assert advisor.ask(request(own_page, region, [(0, 1)]), own_pidfd)["result"] == DONE


def test_refused_descriptors(advisor, own_page, region, own_pidfd):
    good = request(own_page, region, [(0, 1)])
    assert advisor.ask(good)["result"] == REFUSED
    for path in ("/dev/null", "/proc/self", "/proc/self/fdinfo"):
        fd = os.open(path, os.O_RDONLY)
        assert advisor.ask(good, fd)["result"] == REFUSED
        os.close(fd)
    worker, = map(int, pathlib.Path(f"/proc/{advisor.process.pid}/task/{advisor.process.pid}"
                                    "/children").read_text().split())
    before = len(os.listdir(f"/proc/{worker}/fd"))
    for _ in range(50):
        advisor.ask(good, own_pidfd, own_pidfd, own_pidfd)
    assert len(os.listdir(f"/proc/{worker}/fd")) == before, "descriptors stay open"


def test_others_are_gone(advisor, own_page, region, own_pidfd):
    """A process that has ended; one that lives and maps another memfd, or none."""
    assert advisor.ask(request(own_page, region, [(0, 1)], inode=1), own_pidfd)["result"] == GONE
    assert advisor.ask(request(own_page, region, [(0, 1)], device_minor=99),
                       own_pidfd)["result"] == GONE
    child = subprocess.Popen(["sleep", "100"])
    pidfd = os.pidfd_open(child.pid)
    assert advisor.ask(request(own_page, region, [(0, 1)]), pidfd)["result"] == GONE
    child.kill()
    child.wait()
    assert advisor.ask(request(own_page, region, [(0, 1)]), pidfd)["result"] == GONE
    os.close(pidfd)


def test_the_limit(own_page, region, own_pidfd):
    advisor = Advisor("--bytes-per-second", "4M")
    whole = request(own_page, region, [(0, 1024)])
    assert advisor.ask(whole, own_pidfd)["result"] == DONE
    answer = advisor.ask(whole, own_pidfd)
    assert answer["result"] == LIMITED and answer["advised_bytes"] == 0
    assert 0 < answer["wait_ns"] <= 1.1e9
    time.sleep(answer["wait_ns"] / 1e9)
    assert advisor.ask(whole, own_pidfd)["result"] == DONE
    assert advisor.end() == 0


def test_it_holds_two_capabilities_and_no_more(advisor):
    worker, = map(int, pathlib.Path(f"/proc/{advisor.process.pid}/task/{advisor.process.pid}"
                                    "/children").read_text().split())
    for pid in (advisor.process.pid, worker):
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        status = dict(re.findall(r"^(\w+):\s+(\S+)", text, re.M))
        for name in ("CapPrm", "CapEff", "CapBnd"):
            assert int(status[name], 16) == 1 << 23 | 1 << 19, name
        assert int(status["CapInh"], 16) == 0 and status["NoNewPrivs"] == "1"


def test_wrong_options():
    program = pathlib.Path(os.environ["HAKD"]).parent / "hakd-advisor"
    for words, said in ((["--connection", "0"], "--connection '0' is not a connected unix socket"),
                        (["--bytes-per-second", "0"], "is not a size above 0"),
                        (["more"], "the argument 'more' is not an option")):
        done = subprocess.run([program, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=10)
        assert done.returncode == 2 and said in done.stderr
    done = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=10)
    assert done.returncode == 1 and "no listening socket" in done.stderr


@pytest.fixture
def governed(daemon):
    daemon.start("--remote-reclaim=yes")
    wait_for(lambda: daemon.status()["remote_reclaim"]["state"] == "ready")
    return daemon


def write_row(page, superslab, sequence, pages):
    row = bytearray(128)
    struct.pack_into("<Q", row, 0, sequence)
    for first, count in pages:
        for number in range(first, first + count):
            row[40 + number // 8] |= 1 << number % 8
    at = client.SUPERSLABS + 128 * superslab
    page.map[at:at + 128] = bytes(row)


def register(daemon, region, rows):
    page = client.Page(region.count)
    for superslab, pages in enumerate(rows):
        write_row(page, superslab, 2, pages)
    page.publish(lazyfree_bytes=sum(count for pages in rows for _, count in pages) * PAGE)
    client.send(daemon.client_path, client.hello(region.count, base=region.base), [page.fd]).close()
    wait_for(lambda: ME in daemon.pids())
    return page


def remote(daemon):
    status, answer = daemon.trim(ME, '{"method": "remote"}')
    assert status == 202 and answer["remote_request"] > 0, answer
    return wait_for(lambda: (lambda now: now["ack"] >= answer["remote_request"] and now)(
        daemon.of(ME)["remote"]))


def test_a_liar_loses_nothing(governed, region):
    """All that it lives on is called lazyfree."""
    page = register(governed, region, [[(0, 512)]] * 4)
    assert remote(governed)["returned_bytes"] == region.bytes
    assert region.is_whole()
    assert governed.fresh(ME)["metrics"]["lazyfree_bytes"] == 0
    page.close()


def test_returned_until_the_row_changes(governed, region):
    page = register(governed, region, [[(0, 512)], [(3, 5)], [(0, 256), (300, 1)], []])
    region.free(0, 512)
    assert remote(governed)["returned_bytes"] == (512 + 5 + 257) * PAGE
    write_row(page, 2, 4, [(0, 256)])
    page.publish(lazyfree_bytes=(512 + 5 + 256) * PAGE)
    now = governed.fresh(ME)
    assert now["remote"]["returned_bytes"] == (512 + 5) * PAGE
    assert now["metrics"]["lazyfree_bytes"] == 256 * PAGE
    assert remote(governed)["returned_bytes"] == (512 + 5 + 256) * PAGE
    page.close()


def test_a_row_that_is_being_written_is_left_alone(governed, region):
    page = register(governed, region, [[(0, 512)], [(0, 512)], [], []])
    write_row(page, 0, 3, [(0, 512)])
    assert remote(governed)["returned_bytes"] == 512 * PAGE
    page.close()


def test_another_address_space_is_dropped(governed):
    """Its memfd is not mapped any more, which hakd itself may not see."""
    page = register(governed, Region(1), [[(0, 512)]])
    page.map.close()
    assert governed.trim(ME, '{"method": "remote"}')[0] == 202
    wait_for(lambda: governed.pids() == [])
    os.close(page.fd)


def test_without_privileges_it_says_so_once(daemon):
    def serve():
        os.chdir("/")
        os.execve(os.environ["HAKD"], [os.environ["HAKD"], "--runtime-dir", str(daemon.folder)],
                  dict(os.environ))
    daemon.folder.mkdir()
    os.chown(daemon.folder, NOBODY, NOBODY)
    log = os.open(daemon.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.set_inheritable(log, True)
    child = os.fork()
    if child == 0:
        os.dup2(log, 2)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        serve()
    os.close(log)
    wait_for(daemon.control_path.exists)
    time.sleep(3.5)  # it has tried again meanwhile
    said = [line for line in daemon.log.read_text().splitlines() if "emote reclaim" in line]
    status, answer = daemon.request("GET", "/v1/status")[0], daemon.status()["remote_reclaim"]
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    assert status == 200 and answer["state"] == "unavailable"
    assert len(said) == 1 and "there is no advisor, and hakd may not start one" in said[0], said


def test_an_advisor_that_is_late(daemon, region):
    """One that never greets is let go of, and one that was given up counts again as soon as it
    answers, whatever it says of what it was asked."""
    def become_nobody():
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    def state():
        return daemon.status()["remote_reclaim"]["state"]

    def say(number, result):
        connection.send(ANSWER.pack(b"hakREPLY", 1, result, 0, number, *[0] * 7))

    daemon.folder.mkdir()
    os.chown(daemon.folder, NOBODY, NOBODY)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(daemon.folder / "advisor"))
    os.chown(daemon.folder / "advisor", NOBODY, NOBODY)
    listener.listen()
    listener.settimeout(20)
    daemon.start("--remote-reclaim=yes", preexec_fn=become_nobody)
    first, _ = listener.accept()
    assert state() == "waiting"
    connection, _ = listener.accept()  # 12 s later
    assert "which does not come" in daemon.log.read_text()
    say(0, READY)
    wait_for(lambda: state() == "ready")
    register(daemon, region, [[(0, 512)]])
    assert daemon.trim(ME, '{"method": "remote"}')[0] == 202
    asked, fds, _, _ = socket.recv_fds(connection, 65536, 1)
    os.close(fds[0])
    wait_for(lambda: state() == "unavailable", 20)
    say(struct.unpack_from("<Q", asked, 16)[0], GONE)
    wait_for(lambda: state() == "ready")
    assert ME in daemon.pids()
    first.close()
    connection.close()


def test_it_may_be_off(daemon):
    daemon.start("--remote-reclaim=no")
    assert daemon.status()["remote_reclaim"]["state"] == "off"
    page = client.Page()
    page.publish()
    page.register(daemon.client_path)
    wait_for(lambda: ME in daemon.pids())
    status, answer = daemon.trim(ME, '{"method": "remote"}')
    assert status == 503 and answer["error"] == "remote reclaim is not available"
    assert daemon.trim(ME, '{"method": "mailbox"}')[0] == 202
    assert not pathlib.Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children"
                            ).read_text()
    page.close()

"""Goal    nothing that a client sends harms the daemon, and each refusal is counted as what it is.
Method  every wrong message, descriptor and page is sent to a real hakd, which must refuse it, go
        on, and have no descriptor more than before."""

import contextlib
import fcntl
import os
import resource
import socket
import time

import pytest

import client
from conftest import NOBODY, exit_status, fork, wait_for

ME = os.getpid()
HELLO = client.hello()


def refused(hakd, result, message, fds):
    """Sends it and asserts that it is counted as `result`, closed, and leaves no descriptor."""
    before = hakd.fd_count()
    connection = client.send(hakd.client_path, message, fds)
    wait_for(lambda: hakd.registrations()[result] == 1)
    connection.settimeout(5)
    assert connection.recv(1) == b"", "nothing is answered, the connection is closed"
    connection.close()
    assert sum(hakd.registrations().values()) == 1
    assert hakd.pids() == []
    wait_for(lambda: hakd.fd_count() == before)


MESSAGES = {
    "one byte": (b"x", "invalid"),
    "half": (HELLO[:8], "invalid"),
    "a byte less": (HELLO[:-1], "invalid"),
    "less than there was at first": (client.hello(size=39)[:39], "invalid"),
    "a byte more": (HELLO + b"\0", "invalid"),
    "longer than the buffer": (HELLO + bytes(600), "invalid"),
    "many": (HELLO * 100, "invalid"),
    "another magic": (client.hello(magic=b"hakHELLo"), "invalid"),
    "another protocol": (client.hello(magic=b"GET / HT"), "invalid"),
    "version 0": (client.hello(version=0), "version"),
    "version 3": (client.hello(version=3), "version"),
    "says that it is longer": (client.hello(size=len(HELLO) + 1), "invalid"),
    "says that it is empty": (client.hello(size=0), "invalid"),
    "no SuperSlab": (client.hello(superslab_count=0), "invalid"),
    "too many SuperSlabs": (client.hello(superslab_count=(1 << 19) + 1), "invalid"),
    "most SuperSlabs": (client.hello(superslab_count=0xffffffff), "invalid"),
    "more SuperSlabs than the memfd": (client.hello(superslab_count=500), "invalid"),
    "misaligned region": (client.hello(base=(1 << 40) + 4096), "invalid"),
    "region of the kernel": (client.hello(base=1 << 63), "invalid"),
    "region around the end": (client.hello(base=(1 << 64) - (2 << 20)), "invalid"),
}


@pytest.mark.parametrize("message, result", MESSAGES.values(), ids=MESSAGES)
def test_messages(hakd, message, result):
    refused(hakd, result, message, [client.make_memfd()])


def test_every_truncation(hakd):
    memfd = client.make_memfd()
    for length in range(1, len(HELLO)):
        client.send(hakd.client_path, HELLO[:length], [memfd]).close()
    wait_for(lambda: hakd.registrations()["invalid"] == len(HELLO) - 1)
    assert hakd.pids() == []


def test_no_message_at_all(hakd):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(hakd.client_path))
    connection.close()
    wait_for(lambda: hakd.registrations()["invalid"] == 1)


@pytest.mark.parametrize("count", [0, 2, 3, 20, 253])
def test_descriptor_counts(hakd, count):
    refused(hakd, "invalid", HELLO, [client.make_memfd()] * count)


def read_only_memfd():
    return os.open(f"/proc/self/fd/{client.make_memfd()}", os.O_RDONLY)


def hugetlb_memfd():
    try:
        return client.make_memfd(2 << 20, flags=os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
                                 | os.MFD_HUGETLB)
    except OSError:
        pytest.skip("this kernel has no huge pages")


DESCRIPTORS = {
    "too small": lambda: client.make_memfd(4096),
    "empty": lambda: client.make_memfd(0),
    "too large": lambda: client.make_memfd(client.page_bytes(1) + 65536),
    "unsealed": lambda: client.make_memfd(seals=0),
    "may shrink": lambda: client.make_memfd(seals=client.SEALS & ~client.F_SEAL_SHRINK),
    "may grow": lambda: client.make_memfd(seals=client.SEALS & ~client.F_SEAL_GROW),
    "may be sealed": lambda: client.make_memfd(seals=client.SEALS & ~client.F_SEAL_SEAL),
    "not for writing": lambda: client.make_memfd(seals=client.SEALS | client.F_SEAL_WRITE),
    "no new writers": lambda: client.make_memfd(seals=client.SEALS | client.F_SEAL_FUTURE_WRITE),
    "device": lambda: os.open("/dev/zero", os.O_RDWR),
    "folder": lambda: os.open("/", os.O_RDONLY),
    "path": lambda: os.open("/etc/passwd", os.O_PATH),
    "pipe": lambda: os.pipe()[0],
    "socket": lambda: socket.socketpair()[0].detach(),
    "file": lambda: os.open("/tmp", os.O_TMPFILE | os.O_RDWR),
    "read-only": read_only_memfd,
    "huge pages": hugetlb_memfd,
}


@pytest.mark.parametrize("make", DESCRIPTORS.values(), ids=DESCRIPTORS)
def test_descriptors(hakd, make):
    refused(hakd, "invalid", HELLO, [make()])


def test_who_hangs_is_closed_after_two_seconds(hakd):
    before = hakd.fd_count()
    started = time.monotonic()
    hanging = []
    for _ in range(50):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(str(hakd.client_path))
        connection.settimeout(10)
        hanging.append(connection)
    late = hanging.pop()
    page = client.Page()
    page.register(hakd.client_path)
    page.wait_for_mailbox("epoch", 1)
    time.sleep(0.5)
    other = client.Page()
    socket.send_fds(late, [HELLO], [other.fd])  # late, but in time
    other.wait_for_mailbox("epoch", 1)
    for connection in hanging:
        assert connection.recv(1) == b""
    assert 1.5 < time.monotonic() - started < 5
    assert hakd.registrations()["invalid"] == len(hanging)
    wait_for(lambda: hakd.fd_count() == before + 2)


@pytest.mark.parametrize("byte", [0xff, 0xfe, 0x01, 0x80])
def test_telemetry_full_of(hakd, page, byte):
    """Odd bytes are a page that is being written for ever, even ones a version of the far
    future."""
    assert hakd.fresh(ME)["metrics"]["live_bytes"] == 1000
    page.fill(byte)
    row = hakd.fresh(ME)
    assert row["metrics"]["live_bytes"] == 1000
    assert row["plausible"] is (byte % 2 == 1)
    metrics = hakd.metrics()
    counter = "torn_reads" if byte % 2 == 1 else "implausible"
    assert metrics[f"hak_client_{counter}_total", ""] >= 1


def test_page_of_random_bytes(hakd, page):
    for _ in range(200):
        page.map[:12288] = os.urandom(12288)
        page.map[client.TELEMETRY] &= 0xfe
        page.map[client.TELEMETRY + 8:client.TELEMETRY + 16] = (1).to_bytes(8, "little")
        page.map[client.TELEMETRY + 16:client.TELEMETRY + 32] = os.urandom(1) + bytes(15)
        time.sleep(0.002)
        hakd.request("GET", "/v1/clients")
        hakd.request("GET", f"/v1/clients/{ME}")
        hakd.request("POST", f"/v1/clients/{ME}/trim")
    assert hakd.status()["client_count"] == 1


def test_page_that_no_write_reaches(hakd, page):
    """O_APPEND is shared with whoever has the descriptor: a write(2) would fail for want of growth,
    and one that punches a hole into the page would have it written anew."""
    fcntl.fcntl(page.fd, fcntl.F_SETFL, os.O_APPEND)
    assert hakd.trim(ME)[0] == 202
    assert page.mailbox()["trim_request"] == 1
    client.punch(page.fd, 4096)
    assert hakd.trim(ME)[0] == 202
    assert page.mailbox()["trim_request"] == 2
    assert hakd.pids() == [ME]


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_rate_of_a_user(hakd, page):
    def register_often():
        mine = client.Page()
        for _ in range(700):
            # Who is refused may be so before it has said anything.
            with contextlib.suppress(BrokenPipeError):
                mine.register(hakd.client_path)

    started = time.monotonic()
    assert exit_status(fork(register_often, NOBODY)) == 0
    wait_for(lambda: sum(hakd.registrations().values()) == 701)
    counts = hakd.registrations()
    earned = 50 * (time.monotonic() - started)
    assert 500 < counts["accepted"] <= 502 + earned and counts["limit"] > 0
    # Root goes on.
    page.register(hakd.client_path)
    page.wait_for_mailbox("epoch", 2)


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_another_user(hakd):
    registered, ending = os.pipe(), os.pipe()

    def register_and_stay():
        os.close(ending[1])
        page = client.Page()
        page.register(hakd.client_path)
        page.wait_for_mailbox("epoch", 1)
        with pytest.raises(PermissionError):
            hakd.status()  # the control socket is not for everybody
        os.write(registered[1], b"x")
        os.read(ending[0], 1)

    child = fork(register_and_stay, NOBODY)
    os.read(registered[0], 1)
    row, = hakd.get("/v1/clients")["clients"]
    for fd in (*ending, *registered):
        os.close(fd)
    assert exit_status(child) == 0
    assert (row["uid"], row["user"]) == (NOBODY, "nobody")


def test_no_descriptor_left(hakd, page):
    """Connections wait for a second, without a busy loop, and are served afterwards."""
    pid = hakd.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    waiting = socket.socket(socket.AF_UNIX)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, before[1]))
    waiting.connect(str(hakd.control_path))
    page.register(hakd.client_path)
    wait_for(lambda: hakd.log.read_text().count("for a second: Too many open files.") == 2)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    page.wait_for_mailbox("epoch", 2)
    waiting.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
    assert waiting.recv(100).startswith(b"HTTP/1.0 200")
    assert hakd.log.read_text().count("for a second") == 2


def test_who_holds_its_page_holds_nobody_up(hakd, page):
    """A write(2) of its own to the memfd, from memory that does not come, holds the inode."""
    try:
        memory = client.MemoryThatDoesNotCome()
    except OSError as error:
        pytest.skip(f"userfaultfd: {error}")
    page.register(hakd.client_path)
    page.wait_for_mailbox("epoch", 2)
    with memory.written_to(page.fd):
        seen = page.mailbox()["daemon_seen"]
        wait_for(lambda: page.mailbox()["daemon_seen"] >= seen + 2)
        assert hakd.trim(ME, '{"method": "mailbox"}')[0] == 202
        assert page.mailbox()["trim_request"] == 1
    assert hakd.pids() == [ME]


def test_no_descriptor_left_for_a_page(hakd, page):
    """Of who has come already: refused, as one too many and not as one who did wrong."""
    pid, idle = hakd.process.pid, hakd.fd_count()
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(hakd.client_path))
    connection.settimeout(5)
    wait_for(lambda: len(os.listdir(f"/proc/{pid}/fd")) > idle)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, before[1]))
    socket.send_fds(connection, [HELLO], [page.fd])
    assert connection.recv(1) == b""
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    counts = hakd.registrations()
    assert (counts["limit"], counts["invalid"]) == (1, 0)
    page.register(hakd.client_path)
    page.wait_for_mailbox("epoch", 2)


def test_room_for_clients_is_bounded_by_descriptors(daemon):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (518, 518))

    hakd = daemon.start(preexec_fn=limit)  # 512 of its own, 6 for clients
    ending = os.pipe()

    def register_and_stay():
        os.close(ending[1])
        page = client.Page()
        page.register(hakd.client_path)
        os.read(ending[0], 1)

    children = []
    for number in range(1, 6):
        children.append(fork(register_and_stay))
        wait_for(lambda: sum(hakd.registrations().values()) == number)
    counts = hakd.registrations()
    pids = hakd.pids()
    for fd in ending:
        os.close(fd)
    assert [exit_status(child) for child in children] == [0] * 5
    assert counts["limit"] == 2 and sorted(pids) == sorted(children[:3])
    wait_for(lambda: hakd.pids() == [])

"""Goal    hakd tells whoever listens on its pressure socket that memory is short for them, and
        nobody else; and nobody there can hold it up, nor take more than a share of it.
Method  listeners that do as systemd.io/MEMORY_PRESSURE says, in control groups of version 1 whose
        limit is nearly used."""

import mmap
import os
import signal
import socket
import stat
import time

import pytest

from conftest import NOBODY, exit_status, fork, wait_for
from test_govern import MIB, group, needs_groups  # a fixture is found by its name here

__all__ = ["group"]


def watch(daemon, words=b""):
    """The protocol's first half: what the path is decides."""
    path = daemon.folder / "pressure"
    assert stat.S_ISSOCK(os.stat(path).st_mode) and stat.S_IMODE(os.stat(path).st_mode) == 0o666
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(20)
    peer.connect(str(path))
    if words:
        peer.send(words)
    return peer


def is_closed(peer):
    try:
        return peer.recv(4096) == b""
    except ConnectionResetError:
        return True


def listen_in(daemon, folder, ballast_mib, told):
    """A program in a group: writes a byte into the pipe for each that it hears."""
    signal.alarm(60)
    (folder / "cgroup.procs").write_text("0")
    ballast = mmap.mmap(-1, ballast_mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for offset in range(0, len(ballast), 4096):
        ballast[offset] = 1
    with watch(daemon, b"some 200000 2000000") as peer:
        while peer.recv(64):
            os.write(told, b"!")


@needs_groups
def test_who_is_short_is_told(daemon, group):
    """And goes on being told while it is, a second apart; a neighbour is not."""
    reading, told = os.pipe()
    daemon.start()
    folder = group(128)
    with watch(daemon) as other:
        child = fork(lambda: listen_in(daemon, folder, 122, told))
        try:
            begin = time.monotonic()
            assert os.read(reading, 1) == b"!"
            assert os.read(reading, 1) == b"!"
            assert os.read(reading, 1) == b"!"
            assert time.monotonic() - begin > 1.5
            other.settimeout(0.5)
            with pytest.raises(TimeoutError):
                other.recv(1)
            # Who takes no memory says nothing either.
            assert daemon.post("/v1/policy/pause")[0] == 200
            time.sleep(1)
            os.set_blocking(reading, False)
            while True:
                try:
                    os.read(reading, 64)
                except BlockingIOError:
                    break
            time.sleep(2.5)
            with pytest.raises(BlockingIOError):
                os.read(reading, 1)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    os.close(reading)
    os.close(told)
    assert daemon.stop() == 0


@needs_groups
def test_who_does_not_read_holds_nobody_up(daemon, group):
    daemon.start()
    folder = group(64)

    def deaf():
        signal.alarm(60)
        (folder / "cgroup.procs").write_text("0")
        peer = watch(daemon)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        ballast = bytearray(60 * MIB)
        time.sleep(30 if ballast else 0)

    child = fork(deaf)
    try:
        wait_for(lambda: daemon.status()["pressure"]["level"] != "none", 20)
        for _ in range(30):
            assert daemon.answers()
            time.sleep(0.1)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert daemon.stop() == 0


def test_who_writes_without_end_is_closed(daemon):
    daemon.start()
    with watch(daemon, b"x" * 4096) as modest, watch(daemon) as flooder:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                flooder.send(b"x" * 4096)
        modest.settimeout(0.3)
        with pytest.raises(TimeoutError):
            modest.recv(1)
    assert daemon.stop() == 0


def test_there_are_so_many_and_no_more(daemon):
    daemon.start()
    peers = [watch(daemon) for _ in range(129)]
    assert is_closed(peers.pop())
    peers.pop().close()
    wait_for(lambda: not closes_at_once(daemon))
    for peer in peers:
        peer.close()
    assert daemon.answers() and daemon.stop() == 0


def closes_at_once(daemon):
    with watch(daemon) as peer:
        peer.settimeout(0.3)
        try:
            return is_closed(peer)
        except TimeoutError:
            return False


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_of_one_user_fewer(daemon):
    daemon.start()

    def many():
        peers = [watch(daemon) for _ in range(33)]
        assert is_closed(peers[32])
        peers[0].settimeout(0.3)
        with pytest.raises(TimeoutError):
            peers[0].recv(1)

    daemon.folder.parent.chmod(0o755)
    assert exit_status(fork(many, NOBODY)) == 0
    assert daemon.stop() == 0


def test_ends_with_the_daemon(daemon):
    daemon.start()
    with watch(daemon) as peer:
        assert daemon.stop() == 0
        assert is_closed(peer)
    assert not (daemon.folder / "pressure").exists()

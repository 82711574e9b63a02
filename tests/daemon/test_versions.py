"""Goal    hakd and what it talks to may be one version apart, in both directions: an older client,
        a newer one, the state of an older daemon and of a newer one are taken. Two apart are
        refused.
Method  frozen/ has the bytes of version 1 as they were first: the hello and the telemetry of a
        python3, the mailbox that it was told by, the state that its daemon left when it was killed.
        What they mean is written down here once more, by the numbers of then. Newer ones are made
        of them, longer and with a higher version."""

import os
import pathlib
import struct
import zlib

import pytest

import client
from conftest import HERE, wait_for

ME = os.getpid()
FROZEN = HERE / "frozen"
HALF, STATE_HEADER = 64 << 20, 56
GROUPS, OVERRIDES, CLIENTS = 2, 3, 4

# Of version 1, in the order of the wire.
METRICS = {
    "live_bytes": 525296, "cached_bytes": 2190416, "free_bytes": 25310880,
    "lazyfree_bytes": 31678464, "metadata_bytes": 1745408, "huge_bytes": 0,
    "superslab_open_count": 36, "superslab_peak_count": 36, "superslab_opened_total": 36,
    "returned_bytes_total": 25821184, "trim_total": 0, "publication_total": 24414,
    "misuse_total": 0, "refilled_bytes_total": 6833186112, "refaulted_bytes_total": 43479040,
    "allocation_failure_total": 0, "budget_exceeded_total": 0,
}


def frozen(name, size):
    """Rows of zeros are not written down."""
    made = bytearray(size)
    for line in (FROZEN / f"{name}.hex").read_text().splitlines():
        at, _, digits = line.partition("  ")
        row = bytes.fromhex(digits)
        made[int(at, 16):int(at, 16) + len(row)] = row
    assert len(made) == size
    return made


class FrozenPage(client.Page):
    """What a program of version 1 has written, in a page of its size."""

    def __init__(self):
        self.hello = frozen("hello", 40)
        super().__init__(struct.unpack_from("<I", self.hello, 12)[0])
        self.telemetry = frozen("telemetry", 3072)
        self.reserved = client.reserve(1 << 30)  # where all that could be

    def register(self, path):
        self.map[client.TELEMETRY:client.TELEMETRY + 3072] = bytes(self.telemetry)
        client.send(path, self.hello, [self.fd]).close()


@pytest.fixture
def page(daemon):
    made = FrozenPage()
    yield made
    made.reserved.close()
    made.close()


def assert_taken(daemon):
    wait_for(lambda: daemon.pids() == [ME])
    row = daemon.of(ME)
    assert row["plausible"] and row["library_version"] == "0.1.0"
    assert {name: row["metrics"][name] for name in METRICS} == METRICS
    assert row["classes"][0] == {"block_bytes": 16, "slab_count": 1, "block_count": 1024,
                                 "taken_count": 115}
    return row


def test_an_older_client(daemon, page):
    daemon.start("--soft-budget", "64M")
    page.register(daemon.client_path)
    row = assert_taken(daemon)
    wanted = {"group": row["group"], "hard_bytes": 1 << 30, "on_limit": "fail"}
    assert daemon.post("/v1/budgets", wanted)[0] == 200
    assert daemon.trim(ME, '{"target_bytes": 4096, "method": "mailbox"}')[0] == 202
    told = page.map[client.MAILBOX:client.MAILBOX + 96]
    # But for sequence, daemon_seen and epoch, which count.
    assert told[24:] == frozen("mailbox", 96)[24:], told.hex(" ")


def test_a_newer_client(daemon, page):
    daemon.start()
    page.hello += b"/bin/true".ljust(256, b"\0") + b"something"
    struct.pack_into("<HH", page.hello, 8, 2, len(page.hello))
    count = len(METRICS)
    struct.pack_into("<QQQ", page.telemetry, 8, 2, max(count, len(client.METRIC_NAMES)) + 1, 58)
    struct.pack_into("<Q", page.telemetry, 128 + 8 * len(client.METRIC_NAMES), 99)
    page.register(daemon.client_path)
    assert_taken(daemon)
    assert page.mailbox()["epoch"] > 0 and daemon.registrations()["accepted"] == 1


def test_two_versions_apart(daemon, page):
    daemon.start()
    hello = bytes(page.hello)
    struct.pack_into("<H", page.hello, 8, 3)
    page.register(daemon.client_path)
    wait_for(lambda: daemon.registrations()["version"] == 1)
    page.hello = hello
    struct.pack_into("<Q", page.telemetry, 8, 3)
    page.register(daemon.client_path)
    wait_for(lambda: daemon.pids() == [ME])
    assert not daemon.of(ME)["plausible"]


def put_state(daemon, version=1, change=lambda content: content):
    """Where a daemon of this boot would have left it."""
    state = frozen("state", 1540)
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    sequence, = struct.unpack_from("<Q", state, 32)
    content = change(bytes(state[STATE_HEADER:]))
    header = struct.pack("<8sII16sQQI", b"hakSTATE", version, zlib.crc32(content),
                         bytes.fromhex(boot), sequence, len(content), 0)
    header += struct.pack("<I", zlib.crc32(header))
    assert version != 1 or header[32:40] == state[32:40]
    daemon.folder.mkdir()
    with open(daemon.folder / "state", "wb") as file:
        file.seek(HALF if sequence % 2 else 0)
        file.write(header + content)


def assert_restored(daemon):
    assert "Went on with 0 clients; 1 more" in daemon.log.read_text()
    metrics = daemon.metrics()
    group = 'group="python3.11"'
    # A helper that had ended counted 7 and is with the group; the python3 is not there any more.
    assert metrics["hak_superslabs_opened_total", group] == 36 + 7
    assert metrics["hak_returned_bytes_total", group] == METRICS["returned_bytes_total"]
    assert metrics["hak_client_registrations_total", 'result="accepted"'] == 2
    budget, = daemon.get("/v1/budgets")["groups"]
    assert budget["group"] == "python3.11"
    assert budget["set"] == {"hard_bytes": 1 << 30, "on_limit": "fail"}
    assert daemon.status()["governor"]["paused"]
    action, = daemon.get("/v1/actions")["actions"]
    assert (action["pid"], action["target_bytes"], action["trigger"], action["result"]) == (
        24712, 4096, "command", "asked")


def test_the_state_of_an_older_daemon(daemon):
    put_state(daemon)
    daemon.start()
    assert_restored(daemon)


def grow(content):
    """Longer records, and a section that nobody knows."""
    made, at = b"", 0
    while at < len(content):
        kind, size = struct.unpack_from("<QQ", content, at)
        section = content[at + 16:at + 16 + size]
        at += 16 + size
        if kind in (GROUPS, OVERRIDES, CLIENTS):
            records, section = section, b""
            while records:
                length, = struct.unpack_from("<I", records)
                section += struct.pack("<I", length + 8) + records[4:4 + length] + b"\xff" * 8
                records = records[4 + length:]
        made += struct.pack("<QQ", kind, len(section)) + section
    return struct.pack("<QQ", 99, 5) + b"other" + made


def test_the_state_of_a_newer_daemon(daemon):
    put_state(daemon, 2, grow)
    daemon.start()
    assert_restored(daemon)


def test_the_state_of_a_daemon_two_versions_apart(daemon):
    put_state(daemon, 3)
    daemon.start()
    assert "is of another boot, or version" in daemon.log.read_text()
    assert daemon.status()["group_count"] == 0

"""Goal    hakd takes memory back where it is short, from whom has it, in small steps, and stops; it
        tells of all of it; and it does so as well as it can where the kernel says little.
Method  real memory pressure: processes in control groups of version 1 whose limit is nearly used,
        bounded by it and by seconds. Each plays a program on libhak: it has memory that it claims
        to be free, and gives it back when the mailbox asks. Only root can make such groups."""

import contextlib
import ctypes
import mmap
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

import client
from conftest import fork, wait_for

MIB = 1 << 20
MEMORY = pathlib.Path("/sys/fs/cgroup/memory")
UNIFIED = pathlib.Path("/sys/fs/cgroup/unified")
STEP = 64 * MIB

needs_groups = pytest.mark.skipif(
    os.geteuid() != 0 or not (MEMORY / "memory.limit_in_bytes").exists(),
    reason="needs root and the memory controller of version 1")


def remove_group(folder):
    """A group is busy for a moment after its last process."""
    for _ in range(500):
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.01)


@pytest.fixture
def group():
    """make(MIB): a control group with that limit."""
    made = []

    def make(limit_mib):
        folder = MEMORY / f"hak-test-{os.getpid()}-{len(made)}"
        folder.mkdir()
        made.append(folder)
        (folder / "memory.limit_in_bytes").write_text(str(limit_mib * MIB))
        return folder

    yield make
    for folder in made:
        if folder.exists():
            remove_group(folder)


def play(path, folder, ballast_mib, answers, writes):
    """A program that holds so much and gives it back in order; for 60 s at most."""
    signal.alarm(60)
    if folder is not None:
        (folder / "cgroup.procs").write_text("0")
    size = ballast_mib * MIB
    ballast = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for offset in range(0, size, 4096):
        ballast[offset] = 1
    page, given, ack = client.Page(), 0, 0
    before = after = released = 0
    page.publish(live_bytes=MIB, cached_bytes=size)
    page.register(path)
    while True:
        time.sleep(0.01)
        mailbox = page.mailbox()
        if answers and mailbox["trim_request"] > ack:
            before = size - given
            released = min(mailbox["trim_target_bytes"] or size, size - given)
            if released:
                ballast.madvise(mmap.MADV_DONTNEED, given, released)
            given += released
            after = size - given
            ack = mailbox["trim_request"]
        if writes or ack:
            page.publish(live_bytes=MIB, cached_bytes=size - given, trim_ack=ack,
                         trim_before_bytes=before, trim_after_bytes=after,
                         trim_released_bytes=released)


@pytest.fixture
def players(daemon):
    made = []

    def make(folder, ballast_mib, answers=True, writes=True):
        pid = fork(lambda: play(daemon.client_path, folder, ballast_mib, answers, writes))
        made.append(pid)
        wait_for(lambda: pid in daemon.pids(), 20)
        return pid

    def end(pid):
        made.remove(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    make.end = end
    yield make
    for pid in list(made):
        end(pid)


def actions(daemon):
    return daemon.get("/v1/actions")["actions"]


def resident(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * mmap.PAGESIZE


def pressed(daemon):
    return daemon.status()["pressure"]["level"] != "none"


@needs_groups
def test_the_group_that_is_short_gives_and_no_more(hakd, group, players):
    bystander = players(None, 400)  # it has more, and is not concerned
    member = players(group(300), 280)
    before = resident(bystander), resident(member)
    done = wait_for(lambda: actions(hakd))
    assert [row["pid"] for row in done] == [member]
    row = done[0]
    assert (row["method"], row["trigger"], row["result"]) == ("mailbox", "pressure", "done")
    assert row["target_bytes"] == STEP and row["level"] == "some"
    assert abs(row["released_bytes"] - STEP) < MIB and row["duration_seconds"] < 0.5
    # 216 of 300 MiB are used: nothing presses any more, and nothing more is taken.
    time.sleep(4.5)
    assert len(actions(hakd)) == 1
    assert resident(bystander) >= before[0] - MIB
    assert abs(before[1] - STEP - resident(member)) < 2 * MIB
    numbers = hakd.metrics()
    label = 'trigger="pressure",method="mailbox"'
    assert numbers["hak_releases_total", label] == 1
    assert abs(numbers["hak_released_bytes_total", label] - STEP) < MIB
    assert numbers["hak_pressure_events_total", 'scope="cgroup",level="some"'] == 1
    assert numbers["hak_policy_dry_run", ""] == 0
    status = hakd.status()
    assert status["pressure"]["level"] == "none"
    assert status["governor"]["release_count"] == 1
    said = hakd.log.read_text()
    assert f"of process {member} (python3, " in said and "HAK_TRIGGER=pressure" in said
    assert "HAK_ACTION=mailbox" in said and "HAK_DRY_RUN=0" in said


@needs_groups
def test_in_need_steps_are_larger(hakd, group, players):
    member = players(group(400), 390)
    done = wait_for(lambda: actions(hakd))
    assert done[-1]["level"] == "full" and done[-1]["target_bytes"] == 4 * STEP
    assert done[-1]["pid"] == member


@needs_groups
def test_dry_run(daemon, group, players):
    daemon.start("--dry-run")
    member = players(group(100), 95)
    done = wait_for(lambda: actions(daemon))
    assert (done[0]["pid"], done[0]["result"], done[0]["released_bytes"]) == (member, "dry-run", 0)
    time.sleep(3)
    assert daemon.of(member)["trim"]["request"] == 0 and resident(member) > 95 * MIB
    assert len(actions(daemon)) == 1, "it is told once in a while, not at each look"
    assert daemon.metrics()["hak_policy_dry_run", ""] == 1
    assert daemon.metrics()["hak_releases_total", 'trigger="pressure",method="mailbox"'] == 0
    assert "HAK_DRY_RUN=1" in daemon.log.read_text()


@needs_groups
def test_pause_and_resume(hakd, group, players):
    status, _, _ = hakd.request("POST", "/v1/policy/pause")
    assert status == 200
    governor = hakd.status()["governor"]
    assert governor["paused"] and governor["resumes_seconds"] is None
    assert hakd.metrics()["hak_policy_paused", ""] == 1
    member = players(group(100), 95)
    wait_for(lambda: pressed(hakd))
    time.sleep(2.5)
    assert actions(hakd) == [] and hakd.of(member)["trim"]["request"] == 0
    assert hakd.request("POST", "/v1/policy/resume")[0] == 200
    wait_for(lambda: actions(hakd))
    assert not hakd.status()["governor"]["paused"]


def test_a_pause_ends_by_itself(hakd):
    assert hakd.request("POST", "/v1/policy/pause", '{"ttl_seconds": 0.5}')[0] == 200
    governor = hakd.status()["governor"]
    assert governor["paused"] and 0 < governor["resumes_seconds"] <= 0.5
    wait_for(lambda: not hakd.status()["governor"]["paused"], 2)
    for body in ('{"ttl_seconds": 0}', '{"ttl_seconds": -1}', '{"ttl_seconds": 604801}',
                 '{"ttl_seconds": "1"}', '{"ttl": 1}', '{}', '[]', 'x',
                 '{"ttl_seconds": 1, "more": 1}'):
        assert hakd.request("POST", "/v1/policy/pause", body)[0] == 400, body
    assert hakd.request("GET", "/v1/policy/pause")[0] == 405
    assert not hakd.status()["governor"]["paused"]


def test_more_than_a_share_of_the_slack(daemon, players):
    """Each may keep the same part of it; the small have none. There is no pressure."""
    daemon.start("--slack", "100M")
    member = players(None, 300)
    wait_for(lambda: sum(row["released_bytes"] for row in actions(daemon)) > 190 * MIB)
    done = actions(daemon)
    assert {(row["pid"], row["trigger"], row["level"]) for row in done} == {
        (member, "budget", "none")}
    assert sum(row["target_bytes"] for row in done) == 200 * MIB
    time.sleep(2.5)
    assert len(actions(daemon)) == len(done)
    assert daemon.status()["governor"]["slack_bytes"] == 100 * MIB
    assert daemon.spawn("--slack", "much").wait(10) == 2


def test_the_slack_of_the_policy(daemon, players):
    """It holds from the reload that brings it to the one that takes it away."""
    daemon.start()
    players(None, 100)
    daemon.configure("[hakd]\nslack-budget = 40M\n")
    assert daemon.post("/v1/reload")[0] == 200
    wait_for(lambda: sum(row["released_bytes"] for row in actions(daemon)) > 50 * MIB)
    assert daemon.status()["governor"]["slack_bytes"] == 40 * MIB
    daemon.configure("[hakd]\n")
    assert daemon.post("/v1/reload")[0] == 200
    wait_for(lambda: daemon.status()["governor"]["slack_bytes"] == 0)
    done = len(actions(daemon))
    players(None, 100)
    time.sleep(4.5)
    assert len(actions(daemon)) == done


@needs_groups
def test_who_does_not_answer_is_left_behind(hakd, group, players):
    folder = group(300)
    deaf = players(folder, 200, answers=False)
    member = players(folder, 85)
    wait_for(lambda: any(row["pid"] == member for row in actions(hakd)))
    done = actions(hakd)[::-1]
    # It has the most, and so it was asked first: half a second, and it is the next one's turn.
    assert (done[0]["pid"], done[0]["result"]) == (deaf, "pending")
    assert 0.4 < done[0]["duration_seconds"] < 1.5 and done[0]["released_bytes"] == 0
    assert (done[1]["pid"], done[1]["result"]) == (member, "done")
    assert hakd.metrics()["hak_release_timeouts_total", ""] >= 1
    time.sleep(3)
    asked = [row for row in actions(hakd) if row["pid"] == deaf]
    assert len(asked) == 1, "it is not asked again before it has cooled down"


@needs_groups
def test_who_owes_an_answer_is_not_waited_for_so_long(hakd, group, players):
    folder = group(300)
    deaf = players(folder, 200, answers=False)
    assert hakd.trim(deaf)[0] == 202
    member = players(folder, 85)
    wait_for(lambda: any(row["pid"] == member for row in actions(hakd)))
    asked, first = actions(hakd)[::-1][:2]
    assert (asked["pid"], asked["trigger"], asked["result"]) == (deaf, "command", "asked")
    assert (first["pid"], first["trigger"], first["result"]) == (deaf, "pressure", "pending")
    assert first["duration_seconds"] < 0.4
    assert f"Asked for what is free of process {deaf} (" in hakd.log.read_text()


@needs_groups
def test_who_sleeps_is_asked_once(hakd, group, players):
    """The request stays in its mailbox; it answers when it wakes."""
    sleeper = players(group(100), 95, answers=False, writes=False)
    wait_for(lambda: actions(hakd), 15)
    time.sleep(4.5)
    done = actions(hakd)
    assert [(row["pid"], row["result"]) for row in done] == [(sleeper, "pending")]
    assert done[0]["duration_seconds"] < 0.4
    assert hakd.of(sleeper)["trim"]["request"] == 1


@needs_groups
def test_who_ends_while_it_is_asked(hakd, group, players):
    deaf = players(group(100), 95, answers=False)
    wait_for(lambda: hakd.of(deaf)["trim"]["request"] == 1)
    players.end(deaf)
    wait_for(lambda: hakd.pids() == [])
    time.sleep(1)
    assert hakd.status()["client_count"] == 0


@needs_groups
def test_groups_come_and_go(hakd, group, players):
    fds = hakd.fd_count()
    folder = group(100)
    member = players(folder, 20)
    watched = wait_for(lambda: hakd.status()["pressure"]["groups"])
    assert watched[0]["group"] == str(folder) and watched[0]["limit_bytes"] == 100 * MIB
    assert 20 * MIB < watched[0]["used_bytes"] < 60 * MIB
    assert hakd.metrics()["hak_pressure_cgroups", ""] == 1
    players.end(member)
    remove_group(folder)
    wait_for(lambda: not hakd.status()["pressure"]["groups"])
    wait_for(lambda: hakd.fd_count() == fds, 3)


def cpu_seconds(daemon):
    fields = pathlib.Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@needs_groups
def test_it_does_not_spin_under_pressure_that_nobody_can_help(hakd, group, players):
    players(group(100), 97, answers=False)
    wait_for(lambda: actions(hakd))
    before = cpu_seconds(hakd)
    time.sleep(4)
    assert cpu_seconds(hakd) - before < 0.2
    assert len(actions(hakd)) == 1


def status_told(manager):
    """Behind what hakd gives the manager to keep."""
    while True:
        message = manager.recv(4096)
        if b"STATUS=" in message:
            return message


def notifications(daemon):
    """A socket of a service manager's, and what exports it."""
    path = daemon.folder.parent / "notify"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(path))
    manager.settimeout(15)
    return manager, f"export NOTIFY_SOCKET={path}"


def in_namespace(daemon, commands, *options, user=None):
    """Starts hakd where the commands have changed what is mounted."""
    as_user = f"setpriv --reuid {user} --regid {user} --clear-groups " if user else ""
    script = (f"{commands} && exec {as_user}{os.environ['HAKD']} --runtime-dir {daemon.folder} "
              + " ".join(options))
    with open(daemon.log, "ab") as log:
        daemon.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script], stderr=log)
    wait_for(daemon.answers)
    return daemon


needs_root = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/proc/pressure/memory"),
                                reason="needs root, and a kernel that tells of pressure")


@needs_root
@needs_groups
def test_a_kernel_that_says_nothing(daemon, group, players):
    manager, export = notifications(daemon)
    in_namespace(daemon, f"mount -t tmpfs none /proc/pressure && {export}")
    assert status_told(manager).endswith(b", pressure unknown")
    assert daemon.metrics()["hak_pressure_available", ""] == 0
    pressure = daemon.status()["pressure"]
    assert (pressure["source"], pressure["window_seconds"]) == ("none", 0)
    assert "does not tell of memory pressure (/proc/pressure/memory: No such file" \
        in daemon.log.read_text()
    # Limits are there all the same.
    member = players(group(100), 95)
    assert wait_for(lambda: actions(daemon))[0]["pid"] == member


@needs_root
def test_a_kernel_that_allows_no_trigger(daemon):
    manager, export = notifications(daemon)
    in_namespace(daemon, "mount --bind /proc/pressure /proc/pressure && "
                         f"mount -o remount,ro,bind /proc/pressure && {export}", "--dry-run")
    assert status_told(manager).endswith(b", pressure none, by files, dry run")
    assert daemon.metrics()["hak_pressure_available", ""] == 0
    assert daemon.status()["pressure"]["source"] == "polled"
    assert "allows no trigger of memory pressure (Read-only file system)" in daemon.log.read_text()


@needs_root
def test_a_daemon_without_rights(daemon):
    """Windows of 2 s are for everybody on kernels since 6.4; on others files are read."""
    daemon.folder.mkdir(mode=0o755)
    os.chown(daemon.folder, 65534, 65534)
    in_namespace(daemon, "true", user=65534)
    pressure = daemon.status()["pressure"]
    assert (pressure["source"], pressure["window_seconds"]) in (("triggers", 2), ("polled", 0))


class Journal:
    """journald's side of sd_journal_send(3)."""

    def __init__(self, folder):
        self.path = folder / "socket"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(15)

    def entry(self):
        lines = self.socket.recv(65536).decode().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@needs_groups
def test_an_entry_of_the_journal(daemon, group, players):
    home = daemon.folder.parent / "journal"
    home.mkdir()
    journal = Journal(home)
    with open(daemon.log, "ab") as log:
        stream = os.fstat(log.fileno())
        in_namespace(daemon, "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && "
                             f"mount --bind {home} /run/systemd/journal && "
                             f"export JOURNAL_STREAM={stream.st_dev}:{stream.st_ino}")
    member = players(group(100), 93)
    entry = journal.entry()
    assert entry["HAK_PID"] == str(member) and entry["HAK_ACTION"] == "mailbox"
    assert entry["HAK_TRIGGER"] == "pressure" and entry["HAK_DRY_RUN"] == "0"
    assert entry["HAK_TARGET_BYTES"] == str(STEP) and entry["PRIORITY"] == "6"
    assert abs(int(entry["HAK_RELEASED_BYTES"]) - STEP) < MIB
    assert int(entry["HAK_DURATION_USEC"]) < 500000 and entry["HAK_RESULT"] == "done"
    assert entry["HAK_UNIT"] and len(entry["MESSAGE_ID"]) == 32
    assert entry["MESSAGE"].startswith("Took back ")
    assert "Took back" not in daemon.log.read_text(), "it is told once"

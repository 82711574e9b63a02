"""Goal    a hakd that was killed, started by hand, is followed by one that knows what it knew: no
        counter falls, nothing is counted twice, budgets and pauses hold on, a client is the client
        that it was. What is in the way of its state, or damaged, does no harm.
Method  a real hakd with scripts as clients, killed right after it has answered; where descriptors
        are kept for it, the test is the service manager (a real one: tests/systemd)."""

import array
import os
import socket
import struct
import time

import pytest

import client
from conftest import wait_for
from test_life import Manager

ME = os.getpid()
HALF = 64 << 20


def kill(hakd):
    hakd.process.kill()
    hakd.process.wait()


def start_again(hakd, *options):
    kill(hakd)
    return hakd.start(*options)


def counters(hakd):
    """What must not fall; of the daemon itself, which is another process, nothing."""
    return {key: value for key, value in hakd.metrics().items()
            if key[0].endswith("_total") and not key[0].startswith("process_")}


def assert_not_less(after, before):
    assert set(before) <= set(after)
    fallen = {key: (before[key], after[key]) for key in before if after[key] < before[key]}
    assert not fallen, fallen


def test_counters_go_on(hakd, page, helpers):
    gone = helpers("gone", "4096", "7")
    group = f'group="{hakd.of(ME)["group"]}"'
    gone.end()
    wait_for(lambda: gone.pid not in hakd.pids())
    opened = "hak_superslabs_opened_total", group
    page.publish(superslab_opened_total=40)
    wait_for(lambda: hakd.metrics()[opened] == 47)
    registered = hakd.of(ME)["registered"]
    for restart in range(3):
        before = counters(hakd)
        time.sleep(1.1)  # so that a time of registration would be another one
        start_again(hakd)
        assert_not_less(counters(hakd), before)
        assert hakd.pids() == [], "a process without its page is no client"
        # libhak makes a new page when it registers again, with the heap's old counters.
        again = client.Page()
        again.publish(superslab_opened_total=41 + restart)
        again.register(hakd.client_path)
        wait_for(lambda: hakd.pids() == [ME])
        assert hakd.metrics()[opened] == 48 + restart, "counted once, with what came since"
        assert hakd.of(ME)["registered"] == registered
        again.close()
    assert hakd.registrations()["accepted"] == 5


def test_another_heap_is_counted_anew(hakd, page):
    opened = "hak_superslabs_opened_total", f'group="{hakd.of(ME)["group"]}"'
    page.publish(superslab_opened_total=40)
    wait_for(lambda: hakd.metrics()[opened] == 40)
    start_again(hakd)
    other = client.Page()
    other.publish(superslab_opened_total=2)
    other.register(hakd.client_path)
    wait_for(lambda: hakd.pids() == [ME])
    assert hakd.metrics()[opened] == 42
    other.close()


def test_budgets_and_a_pause_hold_on(hakd, page):
    group = hakd.of(ME)["group"]
    assert hakd.post("/v1/budgets", {"pid": ME, "soft_bytes": 48 << 20})[0] == 200
    assert hakd.post("/v1/budgets", {"group": group, "hard_bytes": 1 << 30,
                                     "ttl_seconds": 100})[0] == 200
    assert hakd.post("/v1/policy/pause", {"ttl_seconds": 100})[0] == 200
    assert hakd.trim(ME)[0] == 202
    actions = hakd.get("/v1/actions")
    start_again(hakd)
    assert hakd.get("/v1/actions") == actions
    governor = hakd.status()["governor"]
    assert governor["paused"] and 50 < governor["resumes_seconds"] < 100
    again = client.Page()
    again.publish(live_bytes=1000)
    again.register(hakd.client_path)
    told = again.wait_for_mailbox("epoch", 1)
    assert told["soft_budget_bytes"] == 48 << 20 and told["hard_budget_bytes"] == 1 << 30
    row = next(row for row in hakd.get("/v1/budgets")["groups"] if row["group"] == group)
    assert 50 < row["set"]["ttl_seconds"] < 100
    # Cleared, it is not there after the next kill either.
    assert hakd.post("/v1/budgets", {"pid": ME, "clear": True})[0] == 200
    start_again(hakd)
    assert hakd.get("/v1/budgets")["processes"] == []
    again.close()


def test_a_budget_of_who_has_not_come_back(hakd, page, helpers):
    """What is set for others meanwhile makes hakd look who is gone: he lives, and will come."""
    assert hakd.post("/v1/budgets", {"pid": ME, "soft_bytes": 48 << 20})[0] == 200
    gone = helpers("gone")
    assert hakd.post("/v1/budgets", {"pid": gone.pid, "soft_bytes": 32 << 20})[0] == 200
    start_again(hakd)
    gone.end()
    other = helpers("other")
    assert hakd.post("/v1/budgets", {"pid": other.pid, "soft_bytes": 16 << 20})[0] == 200
    again = client.Page()
    again.publish(live_bytes=1000)
    again.register(hakd.client_path)
    assert again.wait_for_mailbox("epoch", 1)["soft_budget_bytes"] == 48 << 20
    again.close()


def set_budget(hakd):
    wanted = {"group": hakd.of(ME)["group"], "soft_bytes": 1 << 30}
    assert hakd.post("/v1/budgets", wanted)[0] == 200


def budgets(hakd):
    """Those that were set."""
    return [row["set"]["soft_bytes"] for row in hakd.get("/v1/budgets")["groups"] if row["set"]]


def test_after_a_clean_stop(hakd, page):
    set_budget(hakd)
    assert hakd.stop() == 0
    assert hakd.folder.joinpath("state").stat().st_mode & 0o777 == 0o600
    hakd.start()
    assert budgets(hakd) == [1 << 30]


def test_half_a_state(hakd, page):
    """Killed while it wrote: of the half that was begun nothing is believed."""
    set_budget(hakd)
    kill(hakd)
    with open(hakd.folder / "state", "r+b") as state:
        def sequence_at(offset):
            state.seek(offset)
            return struct.unpack_from("<Q", state.read(56), 32)[0]
        older = min(0, HALF, key=sequence_at)
        state.seek(older + 56)
        state.write(b"half of something")
    hakd.start()
    assert budgets(hakd) == [1 << 30]


@pytest.mark.parametrize("damage, said", [
    (b"hakSTATE" + 300 * b"x", "is damaged"),
    (b"mine", "is not hakd's"),
])
def test_a_state_that_is_of_no_use(daemon, damage, said):
    path = daemon.folder / "state"
    daemon.folder.mkdir()
    path.write_bytes(damage)
    daemon.start()
    assert said in daemon.log.read_text() and daemon.status()["group_count"] == 0
    assert daemon.stop() == 0
    is_left_alone = path.read_bytes()[:len(damage)] == damage
    assert is_left_alone == (damage == b"mine")
    assert daemon.start().stop() == 0
    assert daemon.log.read_text().count(said) == (2 if is_left_alone else 1)


def test_a_state_in_the_way(daemon):
    daemon.folder.mkdir()
    (daemon.folder / "state").symlink_to("/etc/passwd")
    daemon.start()
    assert "Nothing will outlive this daemon" in daemon.log.read_text()
    assert daemon.stop() == 0


class Keeper(Manager):
    """A manager that keeps descriptors."""

    def __init__(self, daemon):
        super().__init__(daemon)
        self.kept = {}
        self.sockets = [("control", self.listen("control", socket.SOCK_STREAM)),
                        ("client", self.listen("client", socket.SOCK_SEQPACKET))]
        daemon.control_path = self.folder / "control"
        daemon.client_path = self.folder / "client"

    def keep(self):
        """Takes one message, whatever it says."""
        text, ancillary, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(4))
        lines = dict(line.split("=", 1) for line in text.decode().splitlines())
        if "FDSTORE" in lines:
            [(_, _, bytes_of_fd)] = ancillary
            self.kept[lines["FDNAME"]] = array.array("i", bytes_of_fd)[0]
        elif "FDSTOREREMOVE" in lines:
            os.close(self.kept.pop(lines["FDNAME"]))

    def keep_until(self, condition):
        wait_for(lambda: condition() or self.keep(), seconds=30)

    def start_with_kept(self):
        passed = [(name, socket.socket(fileno=os.dup(fd.fileno()))) for name, fd in self.sockets]
        passed += [(name, os.fdopen(os.dup(fd), "rb")) for name, fd in self.kept.items()]
        high = []
        for number, (name, file) in enumerate(passed, 50):
            os.dup2(file.fileno(), number)
            high.append((name, os.fdopen(number, "rb", buffering=0)))
            file.close()
        self.start(high)
        for _, file in high:
            file.close()
        wait_for(self.daemon.answers)

    def close(self):
        for fd in self.kept.values():
            os.close(fd)
        for _, listening in self.sockets:
            listening.close()


def name_of(fd):
    return f"page.{os.fstat(fd).st_ino:x}"


def test_what_a_manager_keeps(daemon):
    keeper = Keeper(daemon)
    keeper.start_with_kept()
    keeper.keep_until(lambda: "state" in keeper.kept)
    page = client.Page()
    page.publish(superslab_opened_total=40)
    page.register(daemon.client_path)
    name = name_of(page.fd)
    keeper.keep_until(lambda: name in keeper.kept)
    before, mailbox, row = counters(daemon), page.mailbox(), daemon.of(ME)

    # Killed while it wrote to the mailbox: its sequence is odd. It goes on behind it.
    for sequence in (mailbox["sequence"], mailbox["sequence"] + 5):
        kill(daemon)
        struct.pack_into("<Q", page.map, client.MAILBOX, sequence)
        keeper.start_with_kept()
        assert daemon.pids() == [ME], "it had to register again"
        assert_not_less(counters(daemon), before)
        assert daemon.registrations()["accepted"] == 1
        assert daemon.of(ME)["registered"] == row["registered"]
        after = page.mailbox()
        assert after["daemon_seen"] > mailbox["daemon_seen"], "it does not show at once"
        assert after["sequence"] == (sequence + 1) // 2 * 2
        assert after["epoch"] == mailbox["epoch"] + sequence % 2, "nothing else is said anew"
        assert after["soft_budget_bytes"] == mailbox["soft_budget_bytes"]

    # Who comes again is no newcomer, whose page may wait.
    other = client.Page()
    other.publish(superslab_opened_total=41)
    other.register(daemon.client_path)
    registered = time.monotonic()
    keeper.keep_until(lambda: list(keeper.kept) == ["state", name_of(other.fd)])
    assert time.monotonic() < registered + 8
    name = name_of(other.fd)

    # Descriptors of nobody, and a state that is none.
    kill(daemon)
    stray = client.make_memfd()
    keeper.kept[name_of(stray)] = stray
    os.close(keeper.kept["state"])
    keeper.kept["state"] = os.memfd_create("other")
    os.write(keeper.kept["state"], b"something else")
    keeper.start_with_kept()
    assert daemon.pids() == [] and "is not hakd's" in daemon.log.read_text()
    keeper.keep_until(lambda: list(keeper.kept) == ["state"] and
                      os.fstat(keeper.kept["state"]).st_size > 100)
    page.register(daemon.client_path)
    wait_for(lambda: daemon.pids() == [ME])
    keeper.close()
    other.close()
    page.close()

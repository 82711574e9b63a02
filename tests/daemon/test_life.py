"""Goal    hakd begins, ends and begins again as a daemon should: by hand, beside another, after
        kill -9, under systemd.
Method  a real hakd; systemd's side (sockets, notifications, journal) is played by the test."""

import os
import signal
import socket
import subprocess
import time

import pytest

import client
from conftest import NOBODY, exit_status, fork, wait_for

ME = os.getpid()


def run(*options):
    return subprocess.run([os.environ["HAKD"], *options], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_clean_stop(hakd, page, number):
    assert hakd.client_path.stat().st_mode & 0o777 == 0o666
    assert hakd.control_path.stat().st_mode & 0o777 == 0o660
    assert hakd.folder.stat().st_mode & 0o777 == 0o755
    pending = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pending.connect(str(hakd.client_path))  # a hello that never comes
    caller = socket.socket(socket.AF_UNIX)
    caller.connect(str(hakd.control_path))
    assert hakd.status()["client_count"] == 1
    assert hakd.stop(number) == 0
    assert os.listdir(hakd.folder) == ["state"]


def test_after_kill_9(hakd, page):
    hakd.process.kill()
    hakd.process.wait()
    assert hakd.client_path.exists() and hakd.control_path.exists()
    with pytest.raises(ConnectionRefusedError):
        page.register(hakd.client_path)
    hakd.start()
    assert hakd.pids() == []
    # The page goes on where the first daemon left it.
    before = page.mailbox()
    page.register(hakd.client_path)
    after = page.wait_for_mailbox("epoch", 2)
    assert after["daemon_seen"] > before["daemon_seen"]
    assert after["sequence"] > before["sequence"] and hakd.pids() == [ME]


def test_second_daemon_is_refused(hakd, page):
    second = hakd.spawn("--log-level", "error", stderr=subprocess.PIPE)
    said = second.communicate(timeout=20)[1].decode()
    assert second.returncode == 1
    assert said == f"hakd: Another daemon answers at {hakd.control_path}; it is left alone.\n"
    assert hakd.pids() == [ME] and hakd.registrations() == {
        "accepted": 1, "limit": 0, "invalid": 0, "version": 0}


def test_files_in_the_way(daemon):
    daemon.folder.mkdir()
    for path in (daemon.control_path, daemon.client_path):
        path.write_text("mine")
        process = daemon.spawn("--log-level", "error", stderr=subprocess.PIPE)
        said = process.communicate(timeout=20)[1].decode()
        assert process.returncode == 1
        assert said == f"hakd: {path} is in the way and cannot be removed.\n"
        assert path.read_text() == "mine"
        assert os.listdir(daemon.folder) == [path.name], "what it had made is gone again"
        path.unlink()


@pytest.mark.parametrize("options, said", [
    (["--nonsense"], "unrecognized option"),
    (["--runtime-dir"], "requires an argument"),
    (["word"], "the argument 'word' is not an option"),
    (["--log-level", "loud"], "--log-level 'loud' is not error, warning, info or debug"),
    (["--soft-budget", "much"], "--soft-budget 'much' is not a size or a percentage"),
    (["--soft-budget", "101%"], "--soft-budget '101%' is not"),
    (["--soft-budget", "-1"], "--soft-budget '-1' is not"),
])
def test_wrong_options(options, said):
    ended = run(*options)
    assert ended.returncode == 2 and said in ended.stderr and ended.stdout == ""


def test_help_and_version():
    assert run("--help").stdout.startswith("usage: hakd ")
    assert run("--version").stdout == "hakd 0.1.0\n"


@pytest.mark.parametrize("folder, said", [
    ("/nowhere/hak", "hakd: Cannot make the directory /nowhere/hak: No such file or directory.\n"),
    ("/tmp/" + "x" * 120, "is too long for the path of a socket"),
    ("/dev/null", "hakd: Cannot look at /dev/null/control: Not a directory.\n"),
])
def test_directories_that_will_not_do(folder, said):
    ended = run("--log-level", "error", "--runtime-dir", folder)
    assert ended.returncode == 1 and said in ended.stderr
    if "xxx" in folder:
        os.rmdir(folder)


@pytest.mark.parametrize("option, budget", [("64M", 64 << 20), ("1.5G", 3 << 29), ("0", 0),
                                            ("4096", 4096)])
def test_soft_budget(daemon, option, budget):
    daemon.start("--soft-budget", option)
    page = client.Page()
    page.register(daemon.client_path)
    assert page.wait_for_mailbox("epoch", 1)["soft_budget_bytes"] == budget
    policy = daemon.status()["policy"]
    assert (policy["soft_budget_bytes"], policy["hard_budget_bytes"]) == (budget, 0)
    budgets = [row for row in daemon.metrics() if row[0] == "hak_budget_bytes"]
    assert len(budgets) == (1 if budget else 0)


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_without_privileges(daemon):
    daemon.folder.mkdir()
    os.chown(daemon.folder, NOBODY, NOBODY)
    daemon.start(user=NOBODY, group=NOBODY, extra_groups=[])
    registered, ending = os.pipe(), os.pipe()

    def register_and_stay():
        os.close(ending[1])
        page = client.Page()
        page.publish(live_bytes=77)
        page.register(daemon.client_path)
        page.wait_for_mailbox("trim_request", 1)
        os.write(registered[1], b"x")
        os.read(ending[0], 1)

    # Of root: its memory map and its program are not for nobody's eyes.
    child = fork(register_and_stay)
    wait_for(lambda: daemon.pids() == [child])
    assert daemon.trim(child)[0] == 202, "what cannot be looked at is kept"
    os.read(registered[0], 1)
    row = daemon.of(child)
    assert row["user"] == "root" and row["exe"] == "" and row["command"] and row["group"]
    assert row["metrics"]["live_bytes"] == 77 and row["resident_bytes"] > 0
    for fd in (*registered, *ending):
        os.close(fd)
    assert exit_status(child) == 0
    wait_for(lambda: daemon.pids() == [])


class Manager:
    """What hakd needs of systemd."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.folder = daemon.folder.parent
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self.folder / "notify"))
        self.notify.settimeout(10)
        self.environment = {"NOTIFY_SOCKET": str(self.folder / "notify")}

    def listen(self, name, kind):
        made = socket.socket(socket.AF_UNIX, kind)
        made.bind(str(self.folder / name))
        made.listen()
        return made

    def start(self, passed, *options):
        """Starts hakd with sockets [(name, socket)] as descriptors 3, 4, ..."""
        fds = [made.fileno() for _, made in passed]
        environment = dict(os.environ, **self.environment)
        if passed:
            environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in passed)
            environment["LISTEN_FDS"] = str(len(fds))
        moves = " ".join(f"{3 + at}<&{fd} {fd}<&-" for at, fd in enumerate(fds))
        with open(self.daemon.log, "ab") as log:
            self.daemon.process = subprocess.Popen(
                ["bash", "-c", f'LISTEN_PID=$$ exec "$@" {moves}', "bash", os.environ["HAKD"],
                 "--runtime-dir", self.daemon.folder, *options],
                pass_fds=fds, env=environment, stderr=log)

    def received(self):
        """What it says next; its state, which it has the manager keep, is not looked at here."""
        while (text := self.notify.recv(4096).decode()).startswith("FDSTORE"):
            pass
        return text


def at_high_numbers(made):
    """So that moving one to 3, 4, ... does not write over another."""
    moved = []
    for number, (name, listening) in enumerate(made, 50):
        os.dup2(listening.fileno(), number)
        moved.append((name, socket.socket(fileno=number)))
        listening.close()
    return moved


def test_sockets_of_systemd(daemon):
    manager = Manager(daemon)
    made = at_high_numbers([("control", manager.listen("a", socket.SOCK_STREAM)),
                            ("stored", manager.listen("b", socket.SOCK_STREAM)),
                            ("metrics", manager.listen("c", socket.SOCK_STREAM)),
                            ("client", manager.listen("d", socket.SOCK_SEQPACKET))])
    early = client.Page()
    early.register(manager.folder / "d")  # it waits in the queue for the daemon
    manager.start(made)
    for _, listening in made:
        listening.close()
    assert manager.received().startswith("READY=1\nSTATUS=")
    daemon.control_path = manager.folder / "a"
    early.wait_for_mailbox("epoch", 1)
    assert daemon.pids() == [ME]
    assert daemon.request("GET", "/metrics", socket_path=manager.folder / "c")[0] == 200
    assert daemon.request("GET", "/v1/status", socket_path=manager.folder / "c")[0] == 404
    with pytest.raises(ConnectionRefusedError):
        daemon.request("GET", "/metrics", socket_path=manager.folder / "b")
    assert not daemon.folder.exists(), "nothing was left to make"
    assert daemon.stop() == 0
    assert {"a", "c", "d"} <= set(os.listdir(manager.folder)), "they are the manager's to remove"
    assert "Closed a descriptor that systemd passed as 'stored'." in daemon.log.read_text()


def test_wrong_socket_of_systemd(daemon):
    manager = Manager(daemon)
    manager.start(at_high_numbers([("client", manager.listen("a", socket.SOCK_STREAM))]))
    process, daemon.process = daemon.process, None
    assert process.wait(20) == 1
    assert "The descriptor 'client' is not a socket that can serve so." in daemon.log.read_text()


def test_notifications(daemon):
    manager = Manager(daemon)
    # $WATCHDOG_PID is not set: the watchdog is meant for whoever has the variable.
    manager.environment["WATCHDOG_USEC"] = "1000000"
    manager.start([], "--soft-budget", "2G")
    assert manager.received() == ("READY=1\nSTATUS=0 clients, 0 B live, soft budget 2.0 GiB, "
                                  "pressure none")
    assert (daemon.folder / "state").exists(), "who passes no sockets keeps nothing either"
    page = client.Page()
    page.publish(live_bytes=5 << 20)
    page.register(daemon.client_path)
    started = time.monotonic()
    others = []
    while not others or "STATUS" not in others[-1]:
        others.append(manager.received())
    assert others[-1] == "STATUS=1 client, 5.0 MiB live, soft budget 2.0 GiB, pressure none"
    assert time.monotonic() - started < 3
    watchdog = others.count("WATCHDOG=1")
    assert watchdog >= 2 and watchdog == len(others) - 1
    process, daemon.process = daemon.process, None
    process.terminate()
    while (last := manager.received()) == "WATCHDOG=1":
        pass
    assert last == "STOPPING=1" and process.wait(20) == 0


def test_journal(daemon):
    with open(daemon.folder.parent / "journal", "w+") as journal:
        status = os.fstat(journal.fileno())
        stream = dict(os.environ, JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}")
        daemon.start(stderr=journal, env=stream)
        second = daemon.spawn(stderr=journal, env=stream)
        assert second.wait(20) == 1 and daemon.stop() == 0
        journal.seek(0)
        lines = [line for line in journal.read().splitlines()
                 if "RLIMIT_NOFILE" not in line and "The kernel" not in line]
    assert lines[0].startswith("<6>hakd 0.1.0 is ready")
    assert lines[1].startswith("<3>Another daemon answers") and lines[2].startswith("<6>Stopping")


def test_hangup_is_no_reason_to_end(hakd, page):
    """Many daemons read their settings again then, and are sent it for that; to systemd an end by
    SIGHUP is a clean one, after which nothing is restarted."""
    hakd.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "SIGHUP" in hakd.log.read_text() or hakd.process.poll() is not None)
    assert hakd.process.poll() is None and hakd.status()["client_count"] == 1
    assert hakd.stop() == 0

"""hak-status and hakctl with the real hakd.

Goal    both sides read proto/README.md in the same way: what a client has written arrives in the
        tables, a trim goes there and back, and a daemon that is stopped, gone or closed to us is
        told apart.
Method  hakd on a folder of the test's, with scripted clients (client.py).
"""

import json
import os
import shutil
import time

import pytest

import hosts

MIB = 1 << 20


def appears(look):
    """What look() gives, as soon as it is true."""
    for _ in range(500):
        found = look()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not come")


def lines_of(programs):
    done = programs.status("--no-legend")
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_no_clients(programs, daemon):
    done = programs.status()
    assert done.returncode == 0
    assert done.stdout.startswith("hakd ") and ": 0 clients in " in done.stdout
    assert f"pid {daemon.process.pid}," in done.stdout
    assert "LD_PRELOAD=libhak.so" in done.stdout


def test_table(programs, daemon):
    with daemon.client(live_bytes=3 * MIB, cached_bytes=MIB, superslab_open_count=2) as small, \
            daemon.client(live_bytes=7 * MIB) as big:
        lines = appears(lambda: len(lines := lines_of(programs)) == 2 and lines)
        assert [line[0] for line in lines] == [str(big.pid), str(small.pid)]
        assert lines[1][2:6] == ["client.py", "3.0Mi", "1.0Mi", "0B"]
        assert lines[1][7] == "2"
        small.write("live_bytes=4194304")
        appears(lambda: lines_of(programs)[1][3] == "4.0Mi")
    appears(lambda: not lines_of(programs))


def test_one_process(programs, daemon):
    with daemon.client(live_bytes=3 * MIB, free_bytes=MIB) as client:
        done = appears(lambda: (done := programs.status(client.pid)).returncode == 0 and done)
        facts, states, metrics, classes = done.stdout.split("\n\n")
        assert facts.startswith(f"{client.pid} client.py\n")
        assert "none was asked for" in facts
        assert states.splitlines()[1].split()[:2] == ["live", "3.0Mi"]
        assert classes.splitlines()[1].split() == ["64B", "3", "576", "768", "75.0%", "#" * 15]
        whole = json.loads(programs.status("--json", client.pid).stdout)
        assert whole["metrics"]["free_bytes"] == MIB
        assert whole["resident_bytes"] > 4096


def test_json(programs, daemon):
    with daemon.client(live_bytes=MIB) as client:
        whole = appears(lambda: (whole := json.loads(programs.status("--json").stdout))[
            "client_count"] and whole)
        assert whole["schema"] == 1
        assert [one["pid"] for one in whole["clients"]] == [client.pid]


def test_hostile_name_and_numbers(programs, daemon):
    with daemon.client(live_bytes=MIB, name=b"\x1b[2J\n\xff") as evil, \
            daemon.client(live_bytes=2 * MIB) as honest:
        lines = appears(lambda: len(lines := lines_of(programs)) == 2 and lines)
        assert lines[1][2] == r"\x1b[2J\x0a\xff"
        evil.write(f"live_bytes={(1 << 64) - 1}")
        evil.write(f"free_bytes={1 << 63}")
        lines = appears(lambda: (lines := lines_of(programs)) and any(
            line[3] == "?" for line in lines) and lines)
        assert {line[0]: line[3] for line in lines} == {str(evil.pid): "?",
                                                        str(honest.pid): "2.0Mi"}
        assert programs.status(evil.pid).returncode == 0
        assert programs.status("--json").returncode == 0


def test_trim(programs, daemon):
    with daemon.client(live_bytes=MIB) as client:
        appears(lambda: lines_of(programs))
        client.ask("trim")
        done = programs.ctl("trim", client.pid, "--target", "8M", "--timeout", 20)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (f"{client.pid}: cached and free 9.0 MiB before, 1.0 MiB after; "
                               "8.0 MiB released\n")
        assert client.hear() == f"trimmed {8 * MIB}"


def test_trim_of_an_idle_program(programs, daemon):
    with daemon.client(live_bytes=MIB) as client:
        appears(lambda: lines_of(programs))
        done = programs.ctl("trim", client.pid, "--timeout", "0.2")
        assert (done.returncode, "pending: program is idle" in done.stdout) == (6, True)
        assert "pending" in programs.status(client.pid).stdout
        client.ask("trim")
        assert client.hear() == "trimmed 0"
        appears(lambda: "8.0 MiB released" in programs.status(client.pid).stdout)
        assert "pending" not in programs.status(client.pid).stdout


def test_no_such_process(programs, daemon):
    for done in (programs.status(os.getpid()), programs.ctl("trim", os.getpid())):
        assert (done.returncode, done.stdout) == (4, "")
        assert str(os.getpid()) in done.stderr and "not on libhak" in done.stderr


def test_hung_daemon(programs, daemon):
    daemon.stop()
    for arguments in (["hak-status"], ["hakctl", "trim", 1]):
        done = programs.run(*arguments, "--timeout", "0.3")
        assert (done.returncode, done.stdout) == (6, "")
        assert "hakd does not answer" in done.stderr


def test_killed_daemon(programs, daemon):
    daemon.process.kill()
    daemon.process.wait()
    done = programs.status()
    assert (done.returncode, done.stdout) == (3, "")
    assert "nobody listens at" in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_no_permission(programs, daemon, runtime_dir):
    shutil.copy(programs.folder / "hak-status", runtime_dir)
    programs.folder = runtime_dir
    done = programs.status(user=65534, group=65534, extra_groups=[])
    assert (done.returncode, done.stdout) == (5, "")
    assert "no permission" in done.stderr

"""Each way to fail has its exit status and says what is wrong.

Goal    a script can tell failures apart by the status, and a person by one sentence on stderr;
        nothing is on stdout then.
Method  each failure is brought about: no socket, a dead one, one of another group, servers that
        hang, break off or are no hakd at all.
"""

import grp
import os
import shutil
import socket
import time

import pytest

import hosts


def fails(done, status, *words):
    """The first line on stderr has the words; stdout is empty."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize("program, arguments, words", [
    ("hak-status", ["--nonsense"], "unrecognized option"),
    ("hak-status", ["1", "2"], "one PID at most"),
    ("hak-status", ["0"], "'0' is not a process id"),
    ("hak-status", ["-1"], "invalid option"),
    ("hak-status", ["12x"], "'12x' is not a process id"),
    ("hak-status", ["99999999999999999999"], "is not a process id"),
    ("hak-status", [""], "'' is not a process id"),
    ("hak-status", ["--sort", "nonsense"], "no column 'nonsense'"),
    ("hak-status", ["--timeout", "0"], "'0' is not a time"),
    ("hak-status", ["--timeout", "inf"], "'inf' is not a time"),
    ("hak-status", ["--timeout", "-3"], "'-3' is not a time"),
    ("hak-status", ["--runtime-dir", "/" + "x" * 200], "too long for a socket"),
    ("hakctl", [], "what is to be done?"),
    ("hakctl", ["trim"], "trim needs a PID"),
    ("hakctl", ["cut", "1"], "no verb 'cut'"),
    ("hakctl", ["trim", "1", "2"], "one PID at a time"),
    ("hakctl", ["trim", "x"], "'x' is not a process id"),
    ("hakctl", ["trim", "1", "--target", "0"], "'0' is not a size"),
    ("hakctl", ["trim", "1", "--target", "-1M"], "'-1M' is not a size"),
    ("hakctl", ["trim", "1", "--target", "5X"], "'5X' is not a size"),
    ("hakctl", ["trim", "1", "--target", "5MM"], "'5MM' is not a size"),
    ("hakctl", ["trim", "1", "--target", "1.5"], "'1.5' is not a size"),
    ("hakctl", ["trim", "1", "--target", "0x10"], "'0x10' is not a size"),
    ("hakctl", ["trim", "1", "--target", "9999999T"], "is not a size"),
])
def test_usage(programs, program, arguments, words):
    done = programs.run(program, *arguments)
    fails(done, 2, words)
    assert done.stderr.startswith(program + ": "), done.stderr


def test_no_daemon(programs, runtime_dir):
    for arguments in (["hak-status"], ["hak-status", "1"], ["hakctl", "trim", "1"]):
        fails(programs.run(*arguments), 3, "hakd is not running", f"{runtime_dir}/control",
              "systemctl start hakd", f"hakd --runtime-dir {runtime_dir}")


def test_dead_socket(programs, runtime_dir):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(runtime_dir / "control"))
    fails(programs.status(), 3, "nobody listens at", f"{runtime_dir}/control")


def test_default_runtime_dir(programs):
    if os.path.exists("/run/hak/control"):
        pytest.skip("this machine has a hakd")
    fails(programs.status(environment={"HAK_RUNTIME_DIR": ""}), 3, "/run/hak/control")


def test_option_beats_environment(programs, server, runtime_dir):
    done = programs.status("--runtime-dir", runtime_dir,
                           environment={"HAK_RUNTIME_DIR": "/nonexistent"})
    assert done.returncode == 0


def test_proxy_is_not_asked(programs, server):
    done = programs.status(environment={"http_proxy": "http://127.0.0.1:1",
                                        "ALL_PROXY": "http://127.0.0.1:1"})
    assert done.returncode == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_no_permission(programs, server, runtime_dir):
    # Who is nobody may not be able to reach the build.
    shutil.copy(programs.folder / "hak-status", runtime_dir)
    programs.folder = runtime_dir
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    group = grp.getgrgid(1).gr_name
    os.chown(runtime_dir / "control", 0, 1)
    os.chmod(runtime_dir / "control", 0o660)
    fails(programs.status(**nobody), 5, "no permission", f"group '{group}'",
          f"usermod -aG {group}")
    assert programs.status(**nobody | {"extra_groups": [1]}).returncode == 0
    os.chmod(runtime_dir / "control", 0o600)
    fails(programs.status(**nobody), 5, "for its owner alone")


def test_no_such_process(programs, server):
    missing = (404, {"schema": 1, "error": "no client has the pid 1"})
    server.answers["/v1/clients/1"] = server.answers["/v1/clients/1/trim"] = missing
    fails(programs.status(1), 4, "no client has the pid 1", "not on libhak")
    fails(programs.ctl("trim", 1), 4, "no client has the pid 1", "not on libhak")
    server.answers["/v1/clients/4194304"] = missing
    fails(programs.status(4194304), 4, "no such process at all")


def test_server_hangs(programs, server):
    server.answers["/v1/clients"] = (200, lambda: time.sleep(3) or {})
    begin = time.monotonic()
    fails(programs.status("--timeout", "0.3"), 6, "does not answer")
    assert 0.3 <= time.monotonic() - begin < 2


def test_queue_is_full(programs, runtime_dir):
    """A server that takes no connections: the time is waited for, and may suffice."""
    path = str(runtime_dir / "control")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            begin = time.monotonic()
            fails(programs.status("--timeout", "0.4"), 6, "does not answer")
            assert 0.4 <= time.monotonic() - begin < 2


@pytest.mark.parametrize("answer, words", [
    (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
    (b"", "broke off its answer"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", "broke off its answer"),
    (b"HTTP/1.1 200 OK\r\n\r\n<html>hello</html>", "is not what hakd says"),
    (b"HTTP/1.1 200 OK\r\n\r\n", "is not what hakd says"),
    (b"HTTP/1.1 200 OK\r\n\r\n[1, 2]", "is not what hakd says (not an object)"),
    (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100000, "is not what hakd says"),
    (b"HTTP/1.1 200 OK\r\n\r\n{\"x\": \"\x1b\xff\"}", "is not what hakd says"),
    (b"HTTP/1.1 200 OK\r\n\r\n{}", "lacks the"),
    (b"HTTP/1.1 404 Not Found\r\n\r\n<html>", "is not what hakd says"),
    (b"HTTP/1.1 404 Not Found\r\n\r\n{}", "status 404 and no reason"),
    (b"HTTP/1.1 500 Oops\r\n\r\n{\"schema\": 1, \"error\": \"\\u001b[31mfire\\n\"}",
     r"status 500: \x1b[31mfire\x0a"),
    (b"HTTP/1.1 302 Found\r\nLocation: http://hak/\r\n\r\n{}", "status 302"),
    (b"HTTP/1.1 200 OK\r\n\r\n{\"schema\": 2}", "another schema than 1"),
])
def test_garbage(programs, runtime_dir, answer, words):
    with hosts.RawServer(runtime_dir / "control", answer):
        for arguments in (["hak-status"], ["hak-status", 7], ["hakctl", "trim", 7]):
            fails(programs.run(*arguments), 1, words)


def test_endless_answer(programs, runtime_dir):
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    with hosts.RawServer(runtime_dir / "control", head + b" " * (65 << 20)):
        fails(programs.status(), 1, "longer than 64 MiB")


@pytest.mark.parametrize("change, words", [
    ({"pid": "7"}, "whole number 'pid'"),
    ({"metrics": None}, "object 'metrics'"),
    ({"metrics": {"live_bytes": 1.5}}, "whole number 'live_bytes'"),
    ({"command": 7}, "text 'command'"),
    ({"plausible": 1}, "truth value 'plausible'"),
    ({"age_seconds": "now"}, "number 'age_seconds'"),
])
def test_wrong_types(programs, server, change, words):
    server.give([hosts.client(7) | change])
    fails(programs.status(), 1, "hakd's answer lacks the " + words)


def test_full_disk(programs, server):
    with open("/dev/full", "w") as full:
        done = hosts.subprocess.run([programs.folder / "hak-status"], stdout=full,
                                    stderr=hosts.subprocess.PIPE, encoding="utf-8",
                                    env={"HAK_RUNTIME_DIR": str(programs.runtime_dir)})
    assert done.returncode == 1
    assert "cannot write: No space left on device" in done.stderr

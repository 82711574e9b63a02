"""hakctl trim.

Goal    it asks once, waits for the program's answer and no longer, and says what came of it.
Method  a server of the test's plays a program that answers at the third look, never, or is gone.
"""

import json
import time

import hosts

MIB = 1 << 20


class Program:
    """Client 7, whose trim 3 is accepted; it has answered 2, and answers at the look given."""

    def __init__(self, server, answers_at):
        self.looks = 0
        self.answers_at = answers_at
        server.answers["/v1/clients/7/trim"] = (
            202, {"schema": 1, "pid": 7, "trim_request": 3})
        server.answers["/v1/clients/7"] = (200, self.look)

    def look(self):
        self.looks += 1
        done = self.answers_at is not None and self.looks >= self.answers_at
        return hosts.client(7, trim={"request": 3, "ack": 3 if done else 2,
                                     "before_bytes": 9 * MIB if done else 5,
                                     "after_bytes": MIB, "released_bytes": 8 * MIB})


def test_trim(programs, server):
    program = Program(server, 3)
    done = programs.ctl("trim", 7)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("7: cached and free 9.0 MiB before, 1.0 MiB after; "
                           "8.0 MiB released\n")
    assert program.looks == 3
    assert server.posts == [("/v1/clients/7/trim", b"")]
    assert str(8 * MIB) in programs.ctl("trim", 7, "--bytes").stdout


def test_target(programs, server):
    Program(server, 1)
    for text, bytes_asked in {"200M": 200 * MIB, "1.5GiB": 1536 * MIB, "4096": 4096,
                              "3kB": 3072, "2T": 2 << 40}.items():
        assert programs.ctl("trim", 7, "--target", text).returncode == 0
        assert json.loads(server.posts[-1][1]) == {"target_bytes": bytes_asked}


def test_idle_program(programs, server):
    program = Program(server, None)
    begin = time.monotonic()
    done = programs.ctl("trim", "--timeout", "1", 7)
    assert 1 <= time.monotonic() - begin < 3
    assert done.returncode == 6
    assert done.stdout.startswith("7: pending: program is idle; ")
    # Every 20 ms would be 50 looks, every 200 ms would be 5.
    assert 5 < program.looks < 25
    assert len(server.posts) == 1


def test_no_wait(programs, server):
    program = Program(server, None)
    done = programs.ctl("trim", 7, "--no-wait")
    assert (done.returncode, done.stdout) == (0, "7: asked for\n")
    assert program.looks == 0 and len(server.posts) == 1


def test_json(programs, server):
    Program(server, 2)
    assert json.loads(programs.ctl("trim", 7, "--json").stdout) == {
        "schema": 1, "pid": 7, "trim_request": 3, "done": True, "before_bytes": 9 * MIB,
        "after_bytes": MIB, "released_bytes": 8 * MIB}
    Program(server, None)
    done = programs.ctl("trim", 7, "--json", "--timeout", "0.1")
    assert done.returncode == 6
    assert json.loads(done.stdout) == {"schema": 1, "pid": 7, "trim_request": 3, "done": False}


def remote_program(server, answers_at, remote_ack, released):
    """A program that hakd takes memory from itself, whose remote request is 5."""
    program = Program(server, answers_at)
    server.answers["/v1/clients/7/trim"] = (
        202, {"schema": 1, "pid": 7, "trim_request": 3, "remote_request": 5})
    look = program.look
    server.answers["/v1/clients/7"] = (200, lambda: look() | {"remote": {
        "request": 5, "ack": remote_ack, "released_bytes": released, "returned_bytes": 0}})


def test_taken_from_outside(programs, server):
    """From an idle program that is all there is: a success."""
    remote_program(server, None, 5, 250 * MIB)
    done = programs.ctl("trim", 7, "--timeout", "0.3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("7: 250.0 MiB taken from outside\n7: pending: program is idle; ")
    remote_program(server, None, 5, 0)
    assert programs.ctl("trim", 7, "--timeout", "0.3").returncode == 6
    remote_program(server, None, 4, 9)
    done = programs.ctl("trim", 7, "--timeout", "0.3")
    assert done.returncode == 6 and "outside" not in done.stdout
    remote_program(server, 1, 5, MIB)
    outcome = json.loads(programs.ctl("trim", 7, "--json").stdout)
    assert outcome["remote_released_bytes"] == MIB and outcome["released_bytes"] == 8 * MIB


def test_method(programs, server):
    remote_program(server, None, 5, MIB)
    server.answers["/v1/clients/7/trim"] = (
        202, {"schema": 1, "pid": 7, "trim_request": 0, "remote_request": 5})
    done = programs.ctl("trim", 7, "--method", "remote", "--target", "1M")
    assert (done.returncode, done.stdout) == (0, "7: 1.0 MiB taken from outside\n")
    assert json.loads(server.posts[-1][1]) == {"target_bytes": MIB, "method": "remote"}
    assert json.loads(programs.ctl("trim", 7, "--method", "remote", "--json").stdout)["done"]
    Program(server, 1)
    assert programs.ctl("trim", 7, "--method", "mailbox").returncode == 0
    assert json.loads(server.posts[-1][1]) == {"method": "mailbox"}
    server.answers["/v1/clients/7/trim"] = (
        503, {"schema": 1, "error": "remote reclaim is not available"})
    done = programs.ctl("trim", 7, "--method", "remote")
    assert done.returncode == 1 and "remote reclaim is not available" in done.stderr
    assert programs.ctl("trim", 7, "--method", "both").returncode == 2


def test_program_ends(programs, server):
    Program(server, None)
    server.answers["/v1/clients/7"] = (404, {"schema": 1, "error": "no client has the pid 7"})
    done = programs.ctl("trim", 7)
    assert (done.returncode, done.stdout) == (4, "")
    assert "ended before it answered" in done.stderr


def test_program_registers_anew(programs, server):
    Program(server, None)
    server.answers["/v1/clients/7"] = (200, hosts.client(7))
    done = programs.ctl("trim", 7)
    assert (done.returncode, done.stdout) == (4, "")
    assert "registered anew" in done.stderr


def test_daemon_hangs_meanwhile(programs, server):
    """No word about an idle program then: nobody knows."""
    Program(server, None)
    server.answers["/v1/clients/7"] = (200, lambda: time.sleep(4) or {})
    done = programs.ctl("trim", 7, "--timeout", "0.2")
    assert (done.returncode, done.stdout) == (6, "")
    assert "hakd does not answer" in done.stderr

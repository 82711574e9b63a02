"""hak-status about pressure and actions, hakctl policy.

Goal    what the governor sees and did is told in words, and it can be made to rest.
Method  a server of the test's says what hakd could; hakd itself in the last test.
"""

import json

import pytest

import hosts

MIB = 1 << 20


def pressure(**changes):
    return {"level": "none", "source": "triggers", "window_seconds": 1, **changes}


def governor(**changes):
    return {"dry_run": False, "paused": False, "resumes_seconds": None, "remote_reclaim": False,
            "slack_bytes": 0, "release_count": 3, "released_bytes": 192 * MIB, **changes}


def second_line(programs, server, *options, **status):
    server.answers["/v1/status"] = (200, hosts.status(**status))
    done = programs.status(*options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()[1]


def test_pressure_in_a_line(programs, server):
    assert second_line(programs, server, pressure=pressure(), governor=governor()) == \
        "memory pressure none; 3 releases, 192.0 MiB taken back"
    assert second_line(programs, server, "--bytes", pressure=pressure(level="full"),
                       governor=governor(release_count=1, paused=True)) == \
        f"memory pressure full; 1 release, paused, {192 * MIB} taken back"
    assert second_line(programs, server, pressure=pressure(source="polled"),
                       governor=governor(dry_run=True)).startswith(
        "memory pressure none (by files, every 2 s); 3 releases, dry run, ")
    assert "(the kernel does not tell)" in second_line(
        programs, server, pressure=pressure(source="none"), governor=governor())
    # An older daemon does not say.
    assert second_line(programs, server).split()[0] == "PID"
    assert "memory pressure" not in programs.status("--no-legend").stdout


def action(pid, **changes):
    return {"when": "2026-11-23T03:00:01Z", "pid": pid, "command": "redis-server",
            "unit": "redis.service", "method": "mailbox", "trigger": "pressure", "level": "some",
            "result": "done", "target_bytes": 64 * MIB, "released_bytes": 63 * MIB,
            "duration_seconds": 0.012, **changes}


def test_actions(programs, server):
    server.answers["/v1/actions"] = (200, {"schema": 1, "count": 2, "actions": [
        action(7, command="a\x1b[2Jb"), action(912, result="pending", duration_seconds=1.26)]})
    done = programs.status("--actions", environment={"COLUMNS": "200"})
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["WHEN", "PID", "COMMAND", "TRIGGER", "METHOD", "RESULT", "TARGET",
                        "RELEASED", "TOOK"]
    assert lines[1] == ["2026-11-23T03:00:01Z", "7", "a\\x1b[2Jb", "pressure", "mailbox", "done",
                        "64.0Mi", "63.0Mi", "12ms"]
    assert lines[2][5] == "pending" and lines[2][8] == "1.3s"
    assert json.loads(programs.status("--actions", "--json").stdout)["count"] == 2
    server.answers["/v1/actions"] = (200, {"schema": 1, "count": 0, "actions": []})
    assert programs.status("--actions").stdout == "hakd has taken no memory back so far.\n"
    server.answers["/v1/actions"] = (200, {"schema": 1, "count": 1, "actions": [{"pid": 7}]})
    done = programs.status("--actions")
    assert done.returncode == 1 and done.stdout == ""


def test_policy(programs, server):
    server.answers["/v1/policy/pause"] = (200, {"schema": 1, "governor": governor(paused=True)})
    server.answers["/v1/policy/resume"] = (200, {"schema": 1, "governor": governor()})
    done = programs.ctl("policy", "pause")
    assert (done.returncode, done.stdout, done.stderr) == (
        0, "hakd takes no memory back until that is resumed\n", "")
    assert server.posts[-1] == ("/v1/policy/pause", b"")
    for text, seconds in {"90": 90, "1.5s": 1.5, "10m": 600, "2h": 7200, "7d": 604800}.items():
        assert programs.ctl("policy", "pause", "--ttl", text).returncode == 0
        assert json.loads(server.posts[-1][1]) == {"ttl_seconds": seconds}
    assert programs.ctl("policy", "pause", "--ttl", "10m").stdout == \
        "hakd takes no memory back for 10m\n"
    done = programs.ctl("policy", "resume")
    assert (done.returncode, done.stdout) == (0, "hakd takes memory back again\n")
    assert json.loads(programs.ctl("policy", "resume", "--json").stdout)["governor"]["paused"] \
        is False
    server.answers["/v1/policy/pause"] = (200, {"schema": 1, "governor": governor()})
    done = programs.ctl("policy", "pause")
    assert done.returncode == 1 and "hakd did not do so" in done.stderr


@pytest.mark.parametrize("arguments, said", [
    (["policy"], "policy pause or policy resume?"),
    (["policy", "pause", "7"], "there is nothing to do with '7'"),
    (["policy", "stop"], "policy pause or policy resume?"),
    (["policy", "pause", "--ttl", "8d"], "policy pauses for a week at most"),
    (["policy", "pause", "--ttl", "0"], "'0' is not a time"),
    (["policy", "pause", "--ttl", "1w"], "'1w' is not a time"),
    (["policy", "pause", "--ttl", "1mm"], "'1mm' is not a time"),
    (["polish"], "there is no verb 'polish', only trim, budget, why, reload and policy"),
])
def test_wrong_words(programs, server, arguments, said):
    done = programs.ctl(*arguments)
    assert done.returncode == 2 and said in done.stderr and server.posts == []


def test_the_real_one(programs, daemon):
    assert "memory pressure " in programs.status().stdout
    assert programs.ctl("policy", "pause", "--ttl", "1h").returncode == 0
    assert ", paused, " in programs.status().stdout
    assert programs.ctl("policy", "resume").returncode == 0
    assert "paused" not in programs.status().stdout
    assert programs.status("--actions").returncode == 0

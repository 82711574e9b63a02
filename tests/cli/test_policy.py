"""hakctl budget, why and reload, and what hak-status tells of policies.

Goal    each asks hakd what it should, says what came of it, and keeps a budget in a file that hakd
        reads; wrong words are refused before anybody is asked.
Method  a real hakd with a configuration of its own, and clients of a script.
"""

import json
import os

import pytest

import hosts

MIB = 1 << 20


@pytest.fixture
def hakd(pytestconfig, runtime_dir, tmp_path):
    with hosts.Daemon(pytestconfig.getoption("--hakd"), runtime_dir,
                      "--config-dir", tmp_path / "etc") as daemon:
        daemon.config_dir = tmp_path / "etc"
        yield daemon


def drop_ins(hakd):
    folder = hakd.config_dir / "hakd.conf.d"
    return sorted(os.listdir(folder)) if folder.exists() else []


def columns(done):
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()[1].split()


def test_budget_of_a_group(programs, hakd):
    with hakd.client(live_bytes=3 * MIB) as client:
        group = json.loads(programs.status("--json", client.pid).stdout)["group"]
        done = programs.ctl("budget", "set", group, "--soft", "64M", "--hard", "1.5G",
                            "--on-limit", "fail", "--ttl", "1h")
        row = columns(done)
        assert row[0] == group and row[1:] == ["3.0", "MiB", "64.0", "MiB", "1.5", "GiB", "fail",
                                               row[-2], "left"]
        assert json.loads(programs.ctl("budget", "get", group, "--json").stdout)[
            "soft_budget_bytes"] == 64 * MIB
        assert group in programs.ctl("budget", "get").stdout
        row = columns(programs.ctl("budget", "clear", group))
        assert row[3:6] == ["none", "none", "-"]
        done = programs.ctl("budget", "clear", group)
        assert done.returncode == 4 and "no budget has been set" in done.stderr
        assert drop_ins(hakd) == []


def test_budget_of_a_process(programs, hakd):
    with hakd.client(live_bytes=3 * MIB) as client:
        row = columns(programs.ctl("budget", "set", client.pid, "--soft", "2M", "--bytes"))
        assert row[0] == str(client.pid) and row[2:4] == [str(3 * MIB), str(2 * MIB)]
        assert row[-2:] == ["until", "cleared"]
        assert "soft budget  2.0 MiB" in programs.status(client.pid).stdout
        assert columns(programs.ctl("budget", "get", client.pid))[0] == str(client.pid)
        done = programs.ctl("why", client.pid)
        assert done.returncode == 0 and "no section matches" in done.stdout
        assert programs.ctl("budget", "clear", client.pid).returncode == 0


def test_a_budget_that_is_kept(programs, hakd, pytestconfig):
    with hakd.client(live_bytes=3 * MIB) as client:
        group = json.loads(programs.status("--json", client.pid).stdout)["group"]
        programs.ctl("budget", "set", group, "--soft", "7M")
        row = columns(programs.ctl("budget", "set", group, "--soft", "64M", "--persist"))
        assert row[3:5] == ["64.0", "MiB"] and row[-1] == "-"
        assert drop_ins(hakd) == [f"50-budget-{group}.conf"]
        text = (hakd.config_dir / "hakd.conf.d" / drop_ins(hakd)[0]).read_text()
        assert f"[budget {group}]\ngroup = {group}\nsoft = {64 * MIB}\n" in text
        columns(programs.ctl("budget", "set", group, "--hard", "99M", "--persist"))
        assert columns(programs.ctl("budget", "get", group))[3:5] == ["none", "99.0"]
        columns(programs.ctl("budget", "clear", group, "--persist"))
        assert drop_ins(hakd) == []
        assert columns(programs.ctl("budget", "get", group))[3:5] == ["none", "none"]


def test_a_budget_that_hakd_does_not_take(programs, hakd):
    """Where it does not fit, or other files have errors, all stays as it was: what was set by
    command, and the files."""
    hakd.config_dir.mkdir()
    path = hakd.config_dir / "hakd.conf"
    with hakd.client(live_bytes=3 * MIB) as client:
        group = json.loads(programs.status("--json", client.pid).stdout)["group"]
        columns(programs.ctl("budget", "set", group, "--soft", "9M", "--persist"))
        kept = (hakd.config_dir / "hakd.conf.d" / drop_ins(hakd)[0]).read_text()
        programs.ctl("budget", "set", group, "--soft", "7M")
        path.write_text("[policy all]\nsoft = lots\n")
        done = programs.ctl("budget", "set", group, "--soft", "64M", "--persist")
        assert done.returncode == 1 and f"{path}:2: soft is 'lots'" in done.stderr
        assert columns(programs.ctl("budget", "get", group))[3:5] == ["7.0", "MiB"]
        assert [(hakd.config_dir / "hakd.conf.d" / name).read_text()
                for name in drop_ins(hakd)] == [kept]
        done = programs.ctl("budget", "set", "another", "--soft", "64M", "--persist")
        assert done.returncode == 1 and len(drop_ins(hakd)) == 1
        path.write_text("")
        row = columns(programs.ctl("budget", "set", group, "--soft", "64M", "--persist"))
        assert row[3:5] == ["64.0", "MiB"] and row[-1] == "-" and len(drop_ins(hakd)) == 1


def test_why_and_reload(programs, hakd):
    hakd.config_dir.mkdir()
    path = hakd.config_dir / "hakd.conf"
    with hakd.client(live_bytes=3 * MIB) as client:
        path.write_text("# mine\n[policy all]\nsoft = 12M\n")
        done = programs.ctl("reload")
        assert (done.returncode, done.stdout) == (0, "read 1 files, 1 policies\n")
        done = programs.ctl("why", client.pid)
        assert f"[policy all], {path}:3\n" in done.stdout and "12.0 MiB" in done.stdout
        assert "policy       all\n" in programs.status(client.pid).stdout
        assert json.loads(programs.ctl("why", client.pid, "--json").stdout)["name"] == "all"
        path.write_text("[policy all]\nsoft = lots\n")
        done = programs.ctl("reload")
        assert done.returncode == 1 and done.stdout == ""
        assert f"hakd keeps the configuration that it has: {path}:2: soft is 'lots'" in done.stderr
        assert f"errors, and what was before holds: {path}:2:" in programs.status().stdout
        assert "12.0 MiB" in programs.ctl("why", client.pid).stdout


@pytest.mark.parametrize("arguments, said", [
    (["budget"], "budget set, budget get or budget clear?"),
    (["budget", "put", "x"], "budget set, budget get or budget clear?"),
    (["budget", "set"], "needs a GROUP or a PID"),
    (["budget", "set", "x"], "needs --soft, --hard or --on-limit"),
    (["budget", "set", "x", "y", "--soft", "1M"], "one GROUP or PID at a time"),
    (["budget", "set", "x", "--soft", "much"], "'much' is not a size"),
    (["budget", "set", "x", "--soft", "2M", "--hard", "1M"], "less than the soft one"),
    (["budget", "set", "x", "--on-limit", "kill"], "'kill' is neither report nor fail"),
    (["budget", "set", "x", "--soft", "1M", "--ttl", "0"], "'0' is not a time"),
    (["budget", "set", "x", "--soft", "1M", "--ttl", "366d"], "'366d' is not a time"),
    (["budget", "set", "x", "--soft", "1M", "--ttl", "1h", "--persist"], "either --ttl or"),
    (["budget", "set", "7", "--soft", "1M", "--persist"], "--persist needs a group"),
    (["budget", "set", "4294967297", "--soft", "1M"], "'4294967297' is not a process id"),
    (["why"], "why needs a PID"), (["why", "x"], "'x' is not a process id"),
    (["reload", "x"], "there is nothing to do with 'x'"),
])
def test_wrong_words(programs, arguments, said):
    done = programs.ctl(*arguments)
    assert done.returncode == 2 and said in done.stderr and done.stdout == ""


def test_nobody_of_that_name(programs, hakd):
    for arguments in (["set", "nobody", "--soft", "1M"], ["get", "nobody"], ["clear", "nobody"],
                      ["set", 4194000, "--soft", "1M"], ["get", 4194000]):
        done = programs.ctl("budget", *arguments)
        assert done.returncode == 4 and done.stderr and done.stdout == ""
    assert programs.ctl("why", 4194000).returncode == 4


def test_without_a_place_to_keep_it(programs, pytestconfig, runtime_dir, tmp_path):
    (tmp_path / "only.conf").write_text("")
    with hosts.Daemon(pytestconfig.getoption("--hakd"), runtime_dir,
                      "--config", tmp_path / "only.conf"):
        done = programs.ctl("budget", "set", "g", "--soft", "1M", "--persist")
        assert done.returncode == 1 and "there is no place for --persist" in done.stderr

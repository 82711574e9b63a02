"""Goal    hakd.conf and the command line decide over budgets, in the mailbox before a program
        looks; what is wrong is told with file and line and changes nothing.
Method  a real hakd with a configuration of its own, processes that register by hand as clients, and
        hakctl's requests by hand."""

import os
import signal
import subprocess
import time

import pytest

import client
from conftest import Helper, wait_for

ME = os.getpid()
MIB = 1 << 20
GIB = str(1 << 30)
FAIL = 2
GROUPS_MAX = 200
RESERVED = client.reserve(1 << 30)


def hakd_says(*options):
    return subprocess.run([os.environ["HAKD"], *map(str, options)], capture_output=True, text=True,
                          timeout=20, check=False)


@pytest.fixture
def start(daemon):
    """A daemon with this configuration, and this process as its client."""
    pages = []

    def make(text, *options, **numbers):
        daemon.configure(text)
        daemon.start(*options)
        pages.append(client.Page())
        pages[-1].publish(**numbers)
        pages[-1].register(daemon.client_path)
        wait_for(lambda: ME in daemon.pids())
        return pages[-1]

    yield make
    for page in pages:
        page.close()


def test_a_rule_is_in_the_mailbox_at_registration(daemon, start):
    page = start("""
[policy other]
comm = nobody-has-this
soft = 1M
[policy mine]
user = %d
soft = 512M
hard = 2G
on-limit = fail
decay = 2s
thread-cache = 16K
""" % os.getuid())
    box = page.mailbox()
    assert box["soft_budget_bytes"] == 512 * MIB and box["hard_budget_bytes"] == 2048 * MIB
    assert box["flags"] == FAIL and box["decay_ns"] == 2 * 10**9
    assert box["magazine_bytes_max"] == 16384 and box["epoch"] == 1
    policy = daemon.of(ME)["policy"]
    assert policy["name"] == "mine" and policy["line"] == 6
    assert policy["file"] == str(daemon.config_dir / "hakd.conf")
    assert policy["hard_budget_bytes"] == 2048 * MIB and policy["on_limit"] == "fail"
    # Nothing changes, so nothing is written.
    time.sleep(2.5)
    assert page.mailbox()["epoch"] == 1


def test_exempt_and_dry_run(daemon, start):
    page = start("[hakd]\ndry-run=yes\n[policy all]\nsoft=3M\nhard=4M\non-limit=fail\n")
    assert page.mailbox()["soft_budget_bytes"] == page.mailbox()["hard_budget_bytes"] == 0
    assert page.mailbox()["flags"] == 0
    row = daemon.of(ME)
    assert row["soft_budget_bytes"] == 0 and row["policy"]["soft_budget_bytes"] == 3 * MIB
    assert row["policy"]["dry_run"] == "yes"
    assert daemon.status()["governor"]["dry_run"]
    assert daemon.metrics()["hak_policy_dry_run", ""] == 1
    daemon.configure("[policy all]\nexempt=yes\nsoft=3M\n")
    assert daemon.post("/v1/reload")[0] == 200
    row = daemon.of(ME)
    assert row["policy"]["soft_budget_bytes"] == row["soft_budget_bytes"] == 0
    assert row["policy"]["exempt"] == "yes"


def test_a_group_of_policys_own(daemon, start):
    page = start("[policy mine]\ngroup = web tier\ngroup-soft = 300M\ngroup-hard = 400M\n",
                 live_bytes=10 * MIB)
    assert daemon.of(ME)["group"] == "web tier"
    # It is alone: all of it is its own.
    assert page.mailbox()["soft_budget_bytes"] == 300 * MIB
    assert page.mailbox()["hard_budget_bytes"] == 400 * MIB
    metrics = daemon.metrics()
    wait_for(lambda: daemon.metrics().get(
        ("hak_budget_bytes", 'group="web tier",kind="hard"')) == 400 * MIB)
    assert metrics["hak_budget_exceeded_seconds_total", 'group="web tier"'] == 0


def test_members_share_by_live_bytes(daemon, start):
    text = "[policy all]\ngroup=g\ngroup-soft=400M\ngroup-hard=1000M\non-limit=fail\n"
    page = start(text, live_bytes=300 * MIB)
    other = Helper(daemon, "other", str(100 * MIB), "0", GIB)
    wait_for(lambda: page.mailbox()["soft_budget_bytes"] == (16 + 276) * MIB)
    assert page.mailbox()["hard_budget_bytes"] == (16 + 726) * MIB
    row = daemon.of(other.pid)
    assert row["soft_budget_bytes"] == (16 + 92) * MIB
    assert row["hard_budget_bytes"] == (16 + 242) * MIB
    # What is released is the others' with the next tick.
    page.publish(live_bytes=0)
    wait_for(lambda: page.mailbox()["soft_budget_bytes"] == 16 * MIB)
    assert daemon.of(other.pid)["soft_budget_bytes"] == 384 * MIB
    other.end()
    wait_for(lambda: page.mailbox()["soft_budget_bytes"] == 400 * MIB)


def test_time_above_a_budget_is_counted(daemon, start):
    start("[policy all]\ngroup=g\nsoft=2M\n", live_bytes=3 * MIB)
    key = ("hak_budget_exceeded_seconds_total", 'group="g"')
    wait_for(lambda: daemon.metrics()[key] >= 2)
    assert "The group g is above its budget." in daemon.log.read_text()


def test_the_hosts_budget(daemon, start):
    page = start("[hakd]\nhost-budget=100M\nsoft-budget=none\n", live_bytes=40 * MIB,
                 free_bytes=20 * MIB)
    other = Helper(daemon, "other", str(30 * MIB), "0", GIB)
    time.sleep(2.2)
    assert page.mailbox()["purge_level"] == 0 == page.mailbox()["soft_budget_bytes"]
    # More is held than may be: what is free has to go, in shares of what is live.
    page.publish(live_bytes=40 * MIB, free_bytes=50 * MIB)
    wait_for(lambda: page.mailbox()["purge_level"] == 1)
    policy, metrics = daemon.status()["policy"], daemon.metrics()
    assert policy["host_budget_bytes"] == metrics["hak_host_budget_bytes", ""] == 100 * MIB
    assert policy["host_held_bytes"] == 120 * MIB
    assert policy["host_purge_level"] == metrics["hak_host_purge_level", ""] == 1
    assert "hold 120 MiB: the host's budget of 100 MiB is exceeded." in daemon.log.read_text()
    assert page.mailbox()["soft_budget_bytes"] + daemon.of(other.pid)["soft_budget_bytes"] == \
        100 * MIB
    # Even what is in use is too much.
    page.publish(live_bytes=80 * MIB)
    wait_for(lambda: page.mailbox()["purge_level"] == 2)
    # Not at once back again: not before an eighth is free.
    page.publish(live_bytes=65 * MIB)
    wait_for(lambda: page.mailbox()["purge_level"] == 1)
    page.publish(live_bytes=20 * MIB)
    wait_for(lambda: page.mailbox()["purge_level"] == 0)
    assert page.mailbox()["soft_budget_bytes"] == 0
    assert "the host's budget of 100 MiB is kept." in daemon.log.read_text()
    other.end()


def test_who_lies_is_not_weighed(daemon, start):
    page = start("[policy all]\ngroup=g\ngroup-soft=400M\n", live_bytes=100 * MIB)
    liar = Helper(daemon, "liar", str(1 << 60), "0")
    wait_for(lambda: not daemon.of(liar.pid)["plausible"])
    wait_for(lambda: daemon.of(liar.pid)["soft_budget_bytes"] == 16 * MIB)
    assert page.mailbox()["soft_budget_bytes"] == 384 * MIB
    liar.end()


def test_budgets_by_command(daemon, start):
    page = start("[policy all]\ngroup=g\nsoft=50M\n", live_bytes=MIB)
    status, row = daemon.post("/v1/budgets", {"group": "g", "hard_bytes": 64 * MIB,
                                              "on_limit": "fail", "ttl_seconds": 3})
    assert status == 200 and row["hard_budget_bytes"] == 64 * MIB and row["on_limit"] == "fail"
    assert row["set"]["hard_bytes"] == 64 * MIB and 0 <= row["set"]["ttl_seconds"] <= 3
    box = page.mailbox()
    assert (box["soft_budget_bytes"], box["hard_budget_bytes"], box["flags"]) == \
        (50 * MIB, 64 * MIB, FAIL)
    # Its own goes before its rule's, and the group's time is up by and by.
    assert daemon.post("/v1/budgets", {"pid": ME, "soft_bytes": 20 * MIB})[0] == 200
    assert page.mailbox()["soft_budget_bytes"] == 20 * MIB
    wait_for(lambda: page.mailbox()["hard_budget_bytes"] == 0)
    assert page.mailbox()["flags"] == 0
    listed = daemon.get("/v1/budgets")
    assert [group["group"] for group in listed["groups"]] == ["g"]
    assert listed["groups"][0]["set"] is None
    assert listed["processes"][0]["set"] == {"soft_bytes": 20 * MIB}
    assert daemon.post("/v1/budgets", {"pid": ME, "clear": True})[0] == 200
    assert page.mailbox()["soft_budget_bytes"] == 50 * MIB
    assert daemon.post("/v1/budgets", {"pid": ME, "clear": True})[0] == 404
    # What stays of an earlier one counts too.
    assert daemon.post("/v1/budgets", {"group": "g", "soft_bytes": 90 * MIB})[0] == 200
    status, answer = daemon.post("/v1/budgets", {"group": "g", "hard_bytes": 80 * MIB})
    assert status == 400 and "less than the soft one" in answer["error"]


def test_a_budget_of_a_group_that_is_gone(daemon, start):
    """Where there is no room for more groups, the one that is empty for longest goes; its budget is
    there to be seen and cleared."""
    page = start("[policy all]\ngroup=g0\n")
    assert daemon.post("/v1/budgets", {"group": "g0", "soft_bytes": 90 * MIB})[0] == 200
    for i in range(1, GROUPS_MAX):
        daemon.configure(f"[policy all]\ngroup=g{i}\n")
        assert daemon.post("/v1/reload")[0] == 200
        page.register(daemon.client_path)
        wait_for(lambda: daemon.of(ME)["group"] == f"g{i}")
    assert daemon.status()["group_count"] == GROUPS_MAX - 1  # a place is kept for "other"

    def listed():
        return [row for row in daemon.get("/v1/budgets")["groups"] if row["group"] == "g0"]

    [row] = listed()
    assert row["process_count"] == 0 and row["set"] == {"soft_bytes": 90 * MIB}
    assert daemon.post("/v1/budgets", {"group": "g0", "clear": True})[0] == 200
    assert listed() == []
    assert daemon.post("/v1/budgets", {"group": "g0", "clear": True})[0] == 404


@pytest.mark.parametrize("body, status", [
    (None, 400), ([], 400), ({"group": "g"}, 400), ({"soft_bytes": 1}, 400),
    ({"group": "g", "pid": 1, "soft_bytes": 1}, 400), ({"group": "g", "soft_bytes": -1}, 400),
    ({"group": "g", "soft_bytes": 1.5}, 400), ({"group": "g", "soft": 1}, 400),
    ({"group": "g", "soft_bytes": 2, "hard_bytes": 1}, 400), ({"group": 7, "soft_bytes": 1}, 400),
    ({"group": "g", "on_limit": "kill"}, 400), ({"group": "x" * 200, "soft_bytes": 1}, 400),
    ({"group": "g", "soft_bytes": 1, "clear": True}, 400),
    ({"group": "g", "soft_bytes": 1, "ttl_seconds": 1 << 40}, 400),
    ({"group": "nobody", "soft_bytes": 1}, 404), ({"pid": 1 << 22, "soft_bytes": 1}, 404),
])
def test_requests_that_are_refused(hakd, body, status):
    answered, answer = hakd.post("/v1/budgets", body)
    assert answered == status and answer["error"]


def test_as_many_budgets_as_may_be(daemon, start):
    start("[policy all]\ngroup=g\n")
    helpers = [Helper(daemon, f"p{i}") for i in range(3)]
    assert all(daemon.post("/v1/budgets", {"pid": one.pid, "soft_bytes": MIB})[0] == 200
               for one in helpers)
    for one in helpers:
        one.end()


def test_reload(daemon, start):
    page = start("[policy all]\nsoft=10M\n")
    before = daemon.status()["config"]
    assert before["good"] and before["policies"] == 1 and before["loaded"]
    path = daemon.configure("[policy all]\nsoft=10Q\n")
    status, answer = daemon.post("/v1/reload")
    assert status == 422
    assert answer["error"].startswith(f"{path}:2: soft is '10Q'; a size such as 512M, 2G or 10%")
    assert page.mailbox()["soft_budget_bytes"] == 10 * MIB
    after = daemon.status()["config"]
    assert not after["good"] and after["error"] == answer["error"]
    assert after["loaded"] == before["loaded"] and after["policies"] == 1
    metrics = daemon.metrics()
    assert metrics["hak_config_last_reload_successful", ""] == 0
    assert metrics["hak_config_last_reload_success_timestamp_seconds", ""] > 1e9
    assert f"{path}:2" in daemon.log.read_text()
    daemon.configure("[policy all]\nsoft=20M\nsofty=1\n")
    status, answer = daemon.post("/v1/reload")
    assert status == 200 and answer["policies"] == 1 and "softy" in answer["problems"][0]
    assert page.mailbox()["soft_budget_bytes"] == 20 * MIB
    assert daemon.metrics()["hak_config_last_reload_successful", ""] == 1


def test_hangup(daemon, start):
    page = start("[policy all]\nsoft=10M\n")
    daemon.configure("[policy all]\nsoft=11M\n", "hakd.conf.d/10-x.conf")
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: page.mailbox()["soft_budget_bytes"] == 11 * MIB)
    daemon.configure("[policy\n", "hakd.conf.d/20-x.conf")
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: not daemon.status()["config"]["good"])
    assert page.mailbox()["soft_budget_bytes"] == 11 * MIB
    assert "20-x.conf:1: neither a section nor a setting" in daemon.log.read_text()


def test_a_start_with_errors(daemon):
    daemon.configure("[policy all]\nsoft=10Q\n")
    daemon.start("--soft-budget", "7M")
    assert not daemon.status()["config"]["good"]
    page = client.Page()
    page.register(daemon.client_path)
    assert page.wait_for_mailbox("epoch", 1)["soft_budget_bytes"] == 7 * MIB
    page.close()


def test_what_goes_before_what_for_the_default(daemon, start):
    page = start("[hakd]\nsoft-budget=30M\n")
    assert page.mailbox()["soft_budget_bytes"] == 30 * MIB
    assert daemon.stop() == 0
    daemon.start("--soft-budget", "40M")
    again = client.Page()
    again.register(daemon.client_path)
    assert again.wait_for_mailbox("epoch", 1)["soft_budget_bytes"] == 40 * MIB
    again.close()


def test_masks_and_ranks(daemon, tmp_path):
    low, high = tmp_path / "low", tmp_path / "high"
    for folder in (low, high):
        (folder / "hakd.conf.d").mkdir(parents=True)
    (low / "hakd.conf.d/10-a.conf").write_text("[policy a]\nsoft=1M\n")
    (low / "hakd.conf.d/20-b.conf").write_text("[policy b]\nsoft=1M\n")
    (high / "hakd.conf.d/10-a.conf").write_text("[policy a]\nsoft=2M\n")
    (high / "hakd.conf.d/20-b.conf").symlink_to("/dev/null")
    (high / "hakd.conf").write_text("[policy a]\nhard=3M\n")
    said = hakd_says("--config-dir", low, "--config-dir", high, "--print-config")
    assert said.returncode == 0 and said.stderr == ""
    assert f"\nsoft = 2M ; {high}/hakd.conf.d/10-a.conf:2\n" in said.stdout
    assert f"\nhard = 3M ; {high}/hakd.conf:2\n" in said.stdout
    assert "policy b" not in said.stdout
    assert hakd_says("--config-dir", low, "--config-dir", high, "--check-config").returncode == 0


def test_check_config(tmp_path):
    path = tmp_path / "my.conf"
    path.write_text("[policy a]\nsoft = 1M\nhrad = 2M\n")
    said = hakd_says("--config", path, "--check-config")
    assert (said.returncode, said.stdout) == (0, "")
    assert said.stderr == f"{path}:3: warning: the key 'hrad' is not known in [policy a]; ignored\n"
    path.write_text("soft = 1M\n[policy a]\nhard = much\n")
    said = hakd_says("--config", path, "--check-config")
    assert said.returncode == 1
    assert f"{path}:3: hard is 'much'; a size such as 512M, 2G or 10%, or none is expected\n" in \
        said.stderr
    assert hakd_says("--config", tmp_path / "none", "--check-config").returncode == 1
    assert "no configuration file" in hakd_says("--config-dir", tmp_path / "x",
                                                "--print-config").stdout

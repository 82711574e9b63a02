"""Goal    clients are seen as they are, asked for what they shall do, and forgotten when they go.
Method  this process and small ones of client.py register with a real hakd; what it answers and what
        it writes into their pages is compared."""

import os
import shutil
import subprocess
import sys
import time

import client
from conftest import exit_status, fork, wait_for

ME = os.getpid()


def test_registration(hakd, page):
    mailbox = page.mailbox()
    assert mailbox["epoch"] == 1 and mailbox["sequence"] == 2
    assert mailbox["soft_budget_bytes"] == hakd.status()["policy"]["soft_budget_bytes"] > 0
    assert mailbox["hard_budget_bytes"] == mailbox["trim_request"] == 0
    seen = mailbox["daemon_seen"]
    assert seen in (1, 2)
    page.wait_for_mailbox("daemon_seen", seen + 1)


def test_client_in_json(hakd, page):
    page.publish(live_bytes=5000, free_bytes=77, superslab_opened_total=9, trim_ack=3,
                 trim_before_bytes=30, trim_after_bytes=10, trim_released_bytes=20,
                 classes=[(64, 3, 768, 500), (1024, 1, 16, 16)])
    row = hakd.fresh(ME)
    assert row["pid"] == ME and row["uid"] == os.getuid() and row["library_version"] == "0.1.0"
    assert row["exe"] == os.path.realpath(sys.executable)
    assert row["command"] in open("/proc/self/comm").read() and row["group"]
    assert row["plausible"] is True and 0 <= row["age_seconds"] < 5
    assert row["resident_bytes"] > 1 << 20
    assert row["soft_budget_bytes"] == page.mailbox()["soft_budget_bytes"]
    assert list(row["metrics"]) == client.METRIC_NAMES
    assert row["metrics"]["live_bytes"] == 5000
    assert row["metrics"]["superslab_opened_total"] == 9
    assert row["trim"] == {"request": 0, "ack": 3, "before_bytes": 30, "after_bytes": 10,
                           "released_bytes": 20}
    assert row["classes"] == [
        {"block_bytes": 64, "slab_count": 3, "block_count": 768, "taken_count": 500},
        {"block_bytes": 1024, "slab_count": 1, "block_count": 16, "taken_count": 16}]
    listed, = hakd.get("/v1/clients")["clients"]
    del row["classes"]
    for both in (listed, row):  # these change by themselves
        assert both.pop("age_seconds") < 5 and both.pop("resident_bytes") > 1 << 20
    assert listed == row


def test_status_sums_and_order(hakd, helpers):
    small, large, middle = (helpers("x", str(live), "1") for live in (1000, 3000, 2000))
    assert hakd.pids() == [large.pid, middle.pid, small.pid]
    time.sleep(0.12)
    status = hakd.status()
    assert status["schema"] == 1 and status["pid"] == hakd.process.pid
    assert status["client_count"] == 3 and status["group_count"] == 1
    assert status["heap"]["live_bytes"] == 6000
    assert "superslab_opened_total" not in status["heap"], "only gauges are summed"


def test_trim(hakd, page):
    status, answer = hakd.trim(ME)
    assert (status, answer) == (202, {"schema": 1, "pid": ME, "trim_request": 1,
                                        "remote_request": 0})
    mailbox = page.mailbox()
    assert mailbox["trim_request"] == 1 and mailbox["trim_target_bytes"] == 0
    assert mailbox["epoch"] == 2 and mailbox["sequence"] % 2 == 0
    assert hakd.trim(ME, '{"target_bytes": 1048576}') == (
        202, {"schema": 1, "pid": ME, "trim_request": 2, "remote_request": 0})
    assert page.mailbox()["trim_target_bytes"] == 1 << 20 and page.mailbox()["epoch"] == 3
    assert hakd.of(ME)["trim"]["request"] == 2
    for body in ("{", "[]", "7", "{}", '{"target_bytes": -1}', '{"target_bytes": "1"}',
                 '{"target_bytes": 1.5}', '{"method": "both"}', '{"method": 1}',
                 '{"target_bytes": 1, "more": 1}', '{"target_bytes": 1, "target_bytes": 2}',
                 '{"target_bytes": 1} x'):
        assert hakd.trim(ME, body)[0] == 400, body
    assert page.mailbox()["trim_request"] == 2
    assert hakd.trim(1)[0] == 404


def test_exit_is_noticed_and_counters_stay(hakd, helpers):
    first, second = helpers("x", "100", "5"), helpers("x", "200", "7")
    group = f'group="{hakd.of(first.pid)["group"]}"'
    opened, live = ("hak_superslabs_opened_total", group), ("hak_heap_bytes",
                                                            group + ',state="live"')
    assert hakd.metrics()[opened] == 12 and hakd.metrics()[live] == 300
    first.process.kill()
    wait_for(lambda: hakd.pids() == [second.pid])
    assert hakd.request("GET", f"/v1/clients/{first.pid}")[0] == 404
    second.end()
    wait_for(lambda: hakd.pids() == [])
    metrics = hakd.metrics()
    assert metrics[opened] == 12 and metrics[live] == 0
    assert metrics["hak_group_processes", group] == 0 and metrics["hak_clients", ""] == 0


def test_last_words_count(hakd, page):
    """What was published between the last reading and the end of a process."""
    def publish_and_end():
        own = client.Page()
        own.register(hakd.client_path)
        own.wait_for_mailbox("epoch", 1)
        own.publish(trim_total=41)

    assert exit_status(fork(publish_and_end)) == 0
    group = f'group="{hakd.of(ME)["group"]}"'
    wait_for(lambda: hakd.metrics()["hak_trims_total", group] == 41)


def test_same_pid_again(hakd, page):
    group = f'group="{hakd.of(ME)["group"]}"'
    opened = "hak_superslabs_opened_total", group
    page.publish(superslab_opened_total=10)
    assert hakd.fresh(ME) and hakd.metrics()[opened] == 10
    # The same page: nothing is counted twice, and no number of the mailbox comes again.
    page.register(hakd.client_path)
    page.wait_for_mailbox("epoch", 2)
    assert hakd.metrics()[opened] == 10
    assert hakd.status()["client_count"] == 1
    # Another page is another heap.
    other = client.Page()
    other.publish(superslab_opened_total=1)
    other.register(hakd.client_path)
    other.wait_for_mailbox("epoch", 1)
    assert hakd.fresh(ME) and hakd.metrics()[opened] == 11
    assert hakd.status()["client_count"] == 1 and hakd.registrations()["accepted"] == 3
    other.close()


def test_exec_is_noticed(hakd, helpers):
    helper = helpers("x", "100", "5")
    helper.say("exec")
    wait_for(lambda: open(f"/proc/{helper.pid}/comm").read() == "cat\n")
    assert hakd.pids() == [helper.pid], "the kernel does not tell of it"
    status, answer = hakd.trim(helper.pid)
    assert status == 404 and answer == {"schema": 1,
                                        "error": f"no client has the pid {helper.pid}"}
    assert hakd.pids() == []
    assert helper.process.poll() is None, "the process itself is left alone"


def test_torn_page_keeps_the_last_copy(hakd, page):
    assert hakd.fresh(ME)["metrics"]["live_bytes"] == 1000
    page.publish(live_bytes=2000)
    page.map[client.TELEMETRY] |= 1
    row = hakd.fresh(ME)
    assert row["metrics"]["live_bytes"] == 1000 and row["plausible"]
    assert hakd.metrics()["hak_client_torn_reads_total", ""] >= 1


def test_implausible_claims(hakd, page):
    group = f'group="{hakd.of(ME)["group"]}"'
    live, opened = ("hak_heap_bytes", group + ',state="live"'), ("hak_superslabs_opened_total",
                                                                 group)
    page.publish(live_bytes=1000, superslab_opened_total=5)
    hakd.fresh(ME)
    cases = [dict(live_bytes=1 << 50), dict(cached_bytes=1 << 62, free_bytes=1 << 63),
             dict(live_bytes=(1 << 64) - 1), dict(superslab_opened_total=1 << 60),
             dict(superslab_open_count=2), dict(version=7)]
    for number, claim in enumerate(cases, 1):
        page.publish(**claim)
        assert hakd.fresh(ME)["plausible"] is False, claim
        metrics = hakd.metrics()
        assert metrics["hak_client_implausible_total", ""] == number
        assert metrics[live] == 0 and metrics[opened] == 5, claim
        page.publish(live_bytes=1000, superslab_opened_total=5)
        assert hakd.fresh(ME)["plausible"] is True
        assert hakd.metrics()[live] == 1000
    page.publish(live_bytes=1000, superslab_opened_total=2)
    assert hakd.fresh(ME)["plausible"] and hakd.metrics()[opened] == 5, "counters never fall"


def test_names_with_anything_in_them(hakd, helpers, tmp_path):
    strange = tmp_path / 'a"b\n{c}\\d'
    shutil.copy(os.path.realpath(sys.executable), strange)
    helper = helpers('x"\n\\', program=str(strange))
    row = hakd.of(helper.pid)
    assert row["command"] == 'x"\\x0a\\'
    assert row["exe"] == str(tmp_path) + '/a"b\\x0a{c}\\d'
    assert row["group"] == 'a"b\\x0a{c}\\d'
    assert 'hak_group_processes{group="a\\"b\\\\x0a{c}\\\\d"} 1\n' in hakd.metrics_text()
    check_by_promtool(hakd)


def test_a_name_is_no_service(hakd, helpers, tmp_path):
    """Anybody may call a program so; its numbers are not to be added to those of the service."""
    program = tmp_path / "nginx.service"
    shutil.copy(os.path.realpath(sys.executable), program)
    row = hakd.of(helpers("nginx.service", program=str(program)).pid)
    assert (row["command"], row["exe"]) == ("nginx.service", str(program))
    assert row["unit"] != "nginx.service" and row["group"] == "unknown"


def check_by_promtool(hakd):
    if shutil.which("promtool"):
        run = subprocess.run(["promtool", "check", "metrics"], input=hakd.metrics_text(), text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert (run.returncode, run.stdout) == (0, "")


def test_metrics_have_every_row(hakd, page):
    text = hakd.metrics_text()
    for kind, _, family in client.METRICS:
        assert text.count(f"# TYPE {family} {kind.lower()}\n") == 1
        assert text.count(f"# HELP {family} ") == 1
    metrics = hakd.metrics()
    group = f'group="{hakd.of(ME)["group"]}"'
    for state in ("live", "cached", "free", "lazyfree", "metadata"):
        assert ("hak_heap_bytes", f'{group},state="{state}"') in metrics
    assert metrics["hak_build_info", 'version="0.1.0"'] == 1
    assert metrics["hak_client_registrations_total", 'result="accepted"'] == 1
    assert metrics["hak_budget_bytes", group + ',kind="soft"'] > 0
    assert ("hak_budget_bytes", group + ',kind="hard"') not in metrics
    assert metrics["process_resident_memory_bytes", ""] > 1 << 20
    assert metrics["process_open_fds", ""] > 5
    assert abs(metrics["process_start_time_seconds", ""] - time.time()) < 60
    check_by_promtool(hakd)


def test_a_thousand_registrations_leak_nothing_and_an_exec_is_noticed(hakd, page, helpers):
    """Two in one, because the daemon looks for an exec every ten seconds."""
    stays, goes = helpers(), helpers()
    goes.say("exec")
    page.register(hakd.client_path)
    page.wait_for_mailbox("epoch", 2)
    before = hakd.fd_count()
    for _ in range(500):
        page.register(hakd.client_path)
        other = client.Page()
        other.register(hakd.client_path)
        other.wait_for_mailbox("epoch", 1)
        other.close()
    assert hakd.registrations()["accepted"] == 1004
    wait_for(lambda: hakd.fd_count() == before)
    assert sorted(hakd.pids()) == sorted([ME, stays.pid, goes.pid])
    wait_for(lambda: goes.pid not in hakd.pids(), seconds=14)
    # This process maps `page` and not the last of the others, so it is no client either.
    assert hakd.pids() in ([stays.pid], [ME, stays.pid], [stays.pid, ME])
    assert hakd.fd_count() == before - 2 * (3 - len(hakd.pids()))

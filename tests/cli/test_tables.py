"""What hak-status prints.

Goal    a line of the table has the numbers of its client under the right names, in the order asked
        for, in any width; nothing that a client chose reaches the terminal raw; JSON is what the
        daemon said.
Method  a server of the test's says what hakd would; outputs are compared word for word.
"""

import json
import os
import pty
import re
import subprocess

import hosts


def table(output):
    """The lines below the daemon's as lists of words."""
    return [line.split() for line in output.splitlines()[1:]]


def test_all_processes(programs, server):
    server.give([hosts.client(912, live_bytes=3 << 30, cached_bytes=1536 << 10, free_bytes=999,
                              superslab_open_count=1540, soft_budget_bytes=12 << 30),
                 hosts.client(77, live_bytes=1000, user="bob", command="x", age_seconds=7300,
                              resident_bytes=1024)])
    done = programs.status()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == ("hakd 0.1.0: 2 clients in 1 group, soft budget "
                                           "12.0 GiB (pid 812, since 2026-11-23T03:00:00Z)")
    assert table(done.stdout) == [
        "PID USER COMMAND LIVE CACHED FREE RESIDENT SUPERSLABS BUDGET AGE".split(),
        "912 ada redis-server 3.0Gi 1.5Mi 999B 64.0Mi 1540 12.0Gi 0.2s".split(),
        "77 bob x 1.0Ki 0B 0B 1.0Ki 0 - 2h".split()]


def test_columns_are_right_aligned(programs, server):
    lines = programs.status().stdout.splitlines()[1:]
    ends = {name: lines[0].index(name) + len(name) for name in ("PID", "LIVE", "BUDGET")}
    for line in lines[1:]:
        for end in ends.values():
            assert line[end - 1] != " " and line[end] == " ", line


def test_bytes_and_no_legend(programs, server):
    done = programs.status("--bytes", "--no-legend")
    assert done.stdout.splitlines()[0].split()[:4] == ["912", "ada", "redis-server",
                                                       str(3 << 30)]
    assert len(done.stdout.splitlines()) == 3
    assert programs.status("--bytes").stdout.splitlines()[0].startswith(
        f"hakd 0.1.0: 3 clients in 1 group, soft budget {12 << 30} ")


def test_numbers_keep_to_their_width(programs, server):
    sizes = {0: "0B", 999: "999B", 1000: "1.0Ki", 1023898: "999.9Ki", 1023965: "1.0Mi",
             1 << 20: "1.0Mi", 5 << 39: "2.5Ti", (1 << 63) - 1: "8.0Ei"}
    ages = {0: "0.0s", 9.94: "9.9s", 9.96: "10s", 119: "119s", 120: "2m", 7199: "120m",
            7200: "2h", 172800: "2d", 1e300: "?", -1: "?"}
    server.give([hosts.client(1 + i, live_bytes=size) for i, size in enumerate(sizes)])
    lines = programs.status("--no-legend", "--sort", "pid").stdout.splitlines()
    assert [line.split()[3] for line in lines] == list(sizes.values())
    server.give([hosts.client(1 + i, age_seconds=age) for i, age in enumerate(ages)])
    lines = programs.status("--no-legend", "--sort", "pid").stdout.splitlines()
    assert [line.split()[-1] for line in lines] == list(ages.values())


def test_sorting(programs, server):
    server.give([hosts.client(3, live_bytes=2, user="carl", age_seconds=9.5, resident_bytes=7),
                 hosts.client(1, live_bytes=1, user="dora", age_seconds=9.25, resident_bytes=9),
                 hosts.client(2, live_bytes=3, user="bob", age_seconds=99, resident_bytes=8)])
    for key, order in {"pid": "123", "user": "231", "live": "231", "resident": "123",
                       "AGE": "132", "command": "312", "budget": "312"}.items():
        done = programs.status("--no-legend", "--sort", key)
        assert "".join(line.split()[0] for line in done.stdout.splitlines()) == order, key
    assert programs.status("--no-legend").stdout.split()[0] == "2"


def test_without_clients(programs, server):
    server.give([])
    done = programs.status()
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith("hakd 0.1.0: 0 clients")
    assert "LD_PRELOAD=libhak.so" in done.stdout.splitlines()[1]
    assert programs.status("--no-legend").stdout == ""


def test_narrow(programs, server):
    done = programs.status(environment={"COLUMNS": "60"})
    lines = done.stdout.splitlines()[1:]
    assert max(map(len, lines)) <= 60
    assert lines[0].split() == "PID USER COMMAND LIVE CACHED FREE RESIDENT BUDGET AGE".split()
    assert lines[1].split() == "912 ada redis-se 3.0Gi 0B 0B 64.0Mi - 0.2s".split()
    assert lines[4:] == ["Too narrow for: SUPERSLABS"]
    lines = programs.status(environment={"COLUMNS": "40"}).stdout.splitlines()[1:]
    assert lines[1].split() == "912 redis-server 3.0Gi 0B 64.0Mi".split()
    assert lines[4:] == ["Too narrow for: USER, CACHED, SUPERSLABS, BUDGET, AGE"]


def test_very_narrow(programs, server):
    lines = programs.status("--no-legend", environment={"COLUMNS": "24"}).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["912", "77", "1004711"]
    assert max(map(len, lines)) <= 24


def test_terminal(programs, server):
    """A real terminal, of 60 columns; without one, nothing is left out."""
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "cols", "60"], stdin=theirs, check=True)
    subprocess.run([programs.folder / "hak-status"], stdout=theirs, stdin=subprocess.DEVNULL,
                   env={"HAK_RUNTIME_DIR": str(programs.runtime_dir)}, check=True)
    os.close(theirs)
    output = ""
    try:
        while part := os.read(ours, 65536):
            output += part.decode()
    except OSError:  # how a terminal whose other end is closed says that there is no more
        pass
    os.close(ours)
    assert "Too narrow for: " in output
    assert "\x1b" not in output
    assert "SUPERSLABS" in programs.status().stdout.splitlines()[1]


def test_names_are_escaped(programs, server):
    evil = "a\x1b[2J\n\u202eb\x7f\u009bé"
    server.give([hosts.client(7, command=evil, user=evil, exe=evil, unit=evil, group=evil,
                              registered=evil, library_version=evil)])
    safe = r"a\x1b[2J\x0a\xe2\x80\xaeb\x7f\xc2\x9bé"
    for arguments in ([], ["7"]):
        done = programs.status(*arguments)
        assert done.returncode == 0
        assert safe in done.stdout
        assert not set("\x1b\x7f\u202e\u009b") & set(done.stdout)
    plain = programs.status("--no-legend", environment={"LC_ALL": "C"}).stdout
    assert plain.isascii() and r"\xc3\xa9" in plain
    assert programs.status("--json").stdout.replace("\x7f", "").replace("\n", "").isprintable()


def test_implausible_numbers(programs, server):
    server.give([hosts.client(7, plausible=False, live_bytes=1 << 60, free_bytes=-1)])
    done = programs.status("--no-legend")
    assert done.stdout.split()[3:7] == ["?", "?", "?", "64.0Mi"]
    assert "contradict" in programs.status(7).stdout


def test_json(programs, server):
    done = programs.status("--json")
    whole = json.loads(done.stdout)
    assert whole.pop("clients") == server.answers["/v1/clients"][1]["clients"]
    assert whole == server.answers["/v1/status"][1]
    assert '"age_seconds": 0.25' in done.stdout
    assert json.loads(programs.status("--json", "912").stdout) == server.answers[
        "/v1/clients/912"][1]


def test_one_process(programs, server):
    server.give([hosts.client(
        912, live_bytes=32 << 20, cached_bytes=16 << 20, free_bytes=0, huge_bytes=1 << 20,
        metadata_bytes=1 << 20, superslab_open_count=21, soft_budget_bytes=64 << 20,
        hard_budget_bytes=128 << 20, publication_total=412,
        trim={"request": 4, "ack": 3, "before_bytes": 9 << 20, "after_bytes": 1 << 20,
              "released_bytes": 8 << 20},
        classes=[{"block_bytes": 64, "slab_count": 3, "block_count": 768, "taken_count": 576},
                 {"block_bytes": 80, "slab_count": 0, "block_count": 0, "taken_count": 0}])])
    done = programs.status(912)
    assert (done.returncode, done.stderr) == (0, "")
    facts, states, metrics, classes = done.stdout.split("\n\n")
    assert facts.splitlines() == [
        "912 redis-server",
        "  program      /usr/bin/redis-server",
        "  user         ada (1000)",
        "  unit         redis.service",
        "  group        redis.service",
        "  libhak       0.1.0",
        "  registered   2026-11-23T03:00:01Z",
        "  numbers      0.2s old",
        "  soft budget  64.0 MiB, live is 50.0% of it",
        "  hard budget  128.0 MiB, live is 25.0% of it",
        "  last trim    cached and free 9.0 MiB before, 1.0 MiB after; 8.0 MiB released",
        "  pending      a trim waits until the program next needs memory"]
    assert [line.split() for line in states.splitlines()] == [
        "STATE SIZE OF RESIDENT".split(),
        ["live", "32.0Mi", "50.0%", "#" * 10],
        ["cached", "16.0Mi", "25.0%", "#" * 5],
        ["free", "0B", "0.0%"],
        ["lazyfree", "0B", "0.0%"],
        ["metadata", "1.0Mi", "1.6%"],
        ["other", "15.0Mi", "23.4%", "#" * 5],
        ["resident", "64.0Mi", "100.0%", "#" * 20]]
    shown = dict(line.split() for line in metrics.splitlines()[1:])
    assert shown["huge_bytes"] == "1.0Mi" and shown["publication_total"] == "412"
    assert set(shown) == {name for name in hosts.metric_fields()
                          if name.split("_")[0] not in ("live", "cached", "free", "lazyfree",
                                                        "metadata")}
    assert [line.split() for line in classes.splitlines()] == [
        "CLASS SLABS TAKEN CAPACITY OCCUPANCY".split(),
        ["64B", "3", "576", "768", "75.0%", "#" * 15]]


def test_one_process_of_which_little_is_known(programs, server):
    server.give([hosts.client(7, unit="", exe="")])
    output = programs.status(7).stdout
    assert "  program      -\n" in output and "  unit         -\n" in output
    assert "  soft budget  none\n" in output and "  last trim    none was asked for\n" in output
    assert "CLASS" not in output and not output.endswith("\n\n")
    assert all(line == line.rstrip() for line in programs.status(7, "--no-legend").stdout
               .splitlines())


def test_help_and_version(programs):
    version = (hosts.ROOT / "include" / "hak" / "hak.h").read_text()
    numbers = [line.split()[2] for line in version.splitlines()
               if line.startswith("#define HAK_VERSION_")]
    for program in ("hak-status", "hakctl"):
        done = programs.run(program, "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"usage: {program} ")
        done = programs.run(program, "--version")
        assert (done.returncode, done.stdout) == (0, f"{program} {'.'.join(numbers[:3])}\n")


def test_manuals_have_the_options(programs):
    for program in ("hak-status", "hakctl"):
        manual = (hosts.ROOT / "docs" / f"{program}.1.scd").read_text()
        shown = programs.run(program, "--help").stdout
        assert set(re.findall(r"--[a-z-]+", shown)) == set(re.findall(r"--[a-z-]+", manual))
        assert set(re.findall(r"\b(\d) [a-z]", shown.partition("status: ")[2])) == set(
            re.findall(r"^\*(\d)\*$", manual, re.M))

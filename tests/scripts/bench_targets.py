#!/usr/bin/python3
"""The statistics and the verdicts of scripts/bench --targets, by numbers made up for them.

Goal    an interval is what its definition says, and a target that is missed is said to be.
Method  ratios whose medians, intervals and means are known; results of a bench that never ran, in
        which one number at a time is too large; small processes under a library that is built to
        take too long and too much.

usage: bench_targets.py BENCH_FOLDER
"""

import argparse
import contextlib
import copy
import io
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])

from side_by_side import startup, table, targets
from side_by_side.intervals import geometric_mean, of_behind, of_geometric_mean, of_median
from side_by_side.rows import HAK, MIB, rows_of

RUNS = 15


def check_intervals():
    # Of 15 throws, up to 3 heads come with a chance of 1.8 %, up to 4 with 5.9 %.
    assert of_median(range(1, 16)) == (4, 12)
    assert of_median([5, 3, 4, 1, 2]) == (1, 5)
    assert of_median(range(1, 8)) == (1, 7)
    assert of_median(range(1, 10)) == (2, 8)
    assert of_median([7]) == (7, 7)
    assert abs(geometric_mean([0.5, 2]) - 1) < 1e-12
    low, high = of_geometric_mean([[0.9, 1.0, 1.1] * 5, [0.9, 1.0, 1.1] * 5])
    assert 0.9 <= low < 1 < high <= 1.1, (low, high)
    assert of_geometric_mean([[2.0] * 5, [0.5] * 5]) == (1.0, 1.0)
    # Ahead of all, behind one of two, and level with it but for chance.
    ahead, behind, level = [0.9] * 15, [1.1] * 15, [0.9] * 8 + [1.1] * 7
    assert of_behind([[ahead], [ahead, ahead]]) == (0, 0)
    assert of_behind([[ahead, behind], [ahead, ahead]]) == (1, 1)
    assert of_behind([[behind], [ahead, level]]) == (1, 2)


def check_means():
    """Each row's best peer is another, and the limit is nobody's peer."""
    results = {}
    for row, one, other in (("a", 2, 4), ("b", 8, 4)):
        times = {"one": one, HAK: 1, "other": other, "limit": 0.1}
        results[row] = {name: [sample(time, 10 * time)] * RUNS for name, time in times.items()}
    results["c"] = {HAK: "killed by SIGSEGV", "one": [sample(1, 1)] * RUNS}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        table.print_means(results)
    means = [f"{name:16} time {mean} [{mean}, {mean}], peak memory {mean} [{mean}, {mean}], rows: 2"
             for name, mean in (("one", "0.25"), ("other", "0.25"), ("limit", "10.00"),
                                ("best of each row", "0.35"))]
    assert [line.strip() for line in said.getvalue().splitlines()[2:]] == means, said.getvalue()


def sample(seconds, peak, **more):
    return {"seconds": seconds, "peak_bytes": peak, **more}


def row_of(**more):
    """libhak takes half the time and memory of each peer."""
    return {HAK: [sample(1.0, 40.0, **more)] * RUNS, "glibc": [sample(2.1, 80.0, **more)] * RUNS,
            "mimalloc3": [sample(2.0, 90.0, **more)] * RUNS,
            "snmalloc": [sample(2.2, 85.0, **more)] * RUNS, "limit": [sample(0.1, 1.0)] * RUNS}


def results_of():
    return {
        "trees 20 4": row_of(),
        "crowd 1000 64 42": row_of(thread_bytes=15e3),
        "burst 1 100 10 42": row_of(resident_bytes=15.0 * MIB),
        "burst 1 95 10 42": row_of(resident_bytes=140.0 * MIB, floor_bytes=120.0 * MIB),
        "latency 1 1 42 1": row_of(p99_ns=40.0, p999_ns=300.0),
    }


def missed(results):
    """What the verdicts say, and how many targets are missed: of all but the start of processes,
    which is measured and not judged from results."""
    verdicts = targets.Verdicts()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        targets.judge_means(verdicts, results)
        targets.judge_rows(verdicts, results)
        targets.judge_memory(verdicts, results)
        targets.judge_latency(verdicts, results)
    return verdicts.missed, said.getvalue()


def expect(count, word, results):
    reached, said = missed(results)
    lines = [line for line in said.splitlines() if "MISSED" in line]
    assert reached == count == len(lines) and all(word in line for line in lines), (count, said)


def with_change(row, name, **changes):
    results = copy.deepcopy(results_of())
    results[row][name] = [{**one, **changes} for one in results[row][name]]
    return results


def check_verdicts():
    expect(0, "", results_of())
    expect(1, "MiB after light work", with_change("burst 1 100 10 42", HAK,
                                                  resident_bytes=17.0 * MIB))
    expect(1, "over the live pages", with_change("burst 1 95 10 42", HAK,
                                                 resident_bytes=160.0 * MIB))
    expect(1, "KiB a thread", with_change("crowd 1000 64 42", HAK, thread_bytes=17e3))
    expect(1, "p99.9", with_change("latency 1 1 42 1", HAK, p999_ns=400.0))
    expect(1, "trees 20 4", with_change("trees 20 4", HAK, seconds=2.5))
    slow = {row: {**results, HAK: [{**one, "seconds": 1.98} for one in results[HAK]]}
            for row, results in results_of().items()}
    expect(2, "geometric mean, time", slow)
    large = {row: {**results, HAK: [{**one, "peak_bytes": 82.6} for one in results[HAK]]}
             for row, results in results_of().items()}
    expect(3, "geometric mean, peak", large)
    broken = results_of()
    broken["trees 20 4"][HAK] = "killed by SIGSEGV"
    expect(1, "SIGSEGV", broken)
    without = {row: {name: samples for name, samples in results.items() if name != "snmalloc"}
               for row, results in results_of().items()}
    expect(1, "not among the peers", without)
    # The upper end decides, which is the twelfth of 15, with 3 % beyond the target.
    for number, above, count in ((3, 1.3, 0), (4, 1.3, 1), (15, 1.13, 0), (15, 1.14, 1)):
        noisy = results_of()
        noisy["trees 20 4"][HAK] = [sample(2.0 * above, 40.0)] * number + [
            sample(1.0, 40.0)] * (RUNS - number)
        expect(count, "trees 20 4", noisy)
    # One that failed in all rows is no peer, and nothing ends for that.
    failed = {row: {**results, "snmalloc": "exit status 1"}
              for row, results in results_of().items()}
    expect(1, "not among the peers", failed)
    # A third of five rows is one row.
    behind = with_change("trees 20 4", HAK, seconds=2.05)
    expect(0, "", behind)
    behind["crowd 1000 64 42"][HAK] = [sample(2.05, 40.0, thread_bytes=15e3)] * RUNS
    expect(1, "libhak is not the fastest, of 5", behind)
    behind["crowd 1000 64 42"][HAK] = "exit status 1"
    reached, said = missed(behind)
    assert reached == 2 and "MISSED  rows in which" in said, said
    names = ["mimalloc", "mimalloc2.1", "mimalloc10", "mimalloc3.4", "snmalloc"]
    assert targets.newest(names, "mimalloc") == "mimalloc10"
    assert targets.newest(names[:1], "mimalloc") == "mimalloc"
    assert targets.newest(names, "rpmalloc") is None


def check_extent():
    """Half of the rows, or half of the runs, is not the whole."""
    results = results_of()
    for row_count, change, count in ((5, 0, 0), (6, 0, 1), (5, 1, 1), (6, 1, 2)):
        results["trees 20 4"][HAK] = [sample(1.0, 40.0)] * (RUNS - change)
        verdicts = targets.Verdicts()
        with contextlib.redirect_stdout(io.StringIO()):
            targets.judge_extent(verdicts, results, row_count)
        assert verdicts.missed == count, (row_count, change)
    for asked_for, runs_min in ((RUNS, RUNS), (20, RUNS), (3, 3)):
        settings = argparse.Namespace(targets=True, check=False, quick=False, runs=asked_for,
                                      programs="", suite=None, threads=[1, 2])
        assert all(row.runs_of(HAK, settings) >= runs_min for row in rows_of(settings)), asked_for
        for row in rows_of(settings):
            rests = row.words[0] in ("burst", "purge")
            assert row.runs_of("mimalloc", settings) == (3 if rests else row.runs(settings)), row


def built(folder, name, source):
    library = pathlib.Path(folder, name)
    subprocess.run(["gcc", "-O1", "-fno-builtin", "-D_GNU_SOURCE", "-shared", "-fPIC", "-x", "c",
                    "-o", library, "-"], input=source, text=True, check=True)
    return library


def judged_start(library, empty):
    verdicts = targets.Verdicts()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        targets.judge_startup(verdicts, library, empty,
                              argparse.Namespace(quick=False, runs=RUNS))
    return verdicts.missed, said.getvalue()


def check_start():
    """limit.c, with a constructor that sleeps and takes memory."""
    startup.PAIRS = 20
    limit = pathlib.Path(sys.argv[1], "limit.c").read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        empty = built(folder, "empty.so", pathlib.Path(sys.argv[1], "empty.c").read_text("utf-8"))
        light = built(folder, "light.so", limit)
        heavy = built(folder, "heavy.so", limit + """
            __attribute__((constructor)) static void delay(void)
            {
                    memset(map(1 << 20), 1, 1 << 20);
                    usleep(5000);
            }""")
        count, said = judged_start(heavy, empty)
        assert count == 4 and "ls: KiB resident" in said, said
        _, said = judged_start(light, empty)
        assert said.count("met     true: KiB") == said.count("met     ls: KiB") == 1, said
        # Who serves nothing has not been measured, nor has who cannot be loaded.
        assert "MISSED  small processes: malloc came" in judged_start(empty, empty)[1]
        assert "MISSED  small processes: " in judged_start(pathlib.Path("/nonexistent"), empty)[1]


check_intervals()
check_means()
check_verdicts()
check_extent()
check_start()

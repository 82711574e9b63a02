"""The targets for the whole of the bench: what libhak is to reach beside every peer.

A target is met when the upper end of the 95 % interval is under it, or beyond it by 3 % at most.
"""

import argparse
import re
import statistics

from . import startup
from .intervals import is_behind, of_behind, of_geometric_mean, of_median, ratios
from .results import best_peer_of_row, mean_of, pairs_with, peers_in
from .rows import HAK, MIB, RUNS_MIN, rows_of
from .runs import RunError

TOLERANCE = 1.03
KIB = 1024


class Verdicts:
    """Lines of (what, target, reached, low, high)."""

    def __init__(self):
        self.missed = 0

    def add(self, what, target, reached, low, high):
        met = high <= target * TOLERANCE
        self.missed += not met
        print(f"  {'met' if met else 'MISSED':6}  {what:68} <= {target:<6.4g} "
              f"reached {reached:.3g} [{low:.3g}, {high:.3g}]")

    def add_missing(self, what):
        self.missed += 1
        print(f"  MISSED  {what}")


def newest(peers, name):
    """Of peers that are called so, the one with the highest number in its name, such as mimalloc3:
    Debian's has none."""
    named = [peer for peer in peers if peer.startswith(name)]
    return max(named, default=None,
               key=lambda peer: ([int(digits) for digits in re.findall("[0-9]+", peer)], peer))


def judge_means(verdicts, all_results):
    names = peers_in(all_results)
    times = {peer: pairs_with(all_results, peer, "seconds") for peer in names}
    peaks = {peer: pairs_with(all_results, peer, "peak_bytes") for peer in names}
    # Of one that failed everywhere there is nothing to be said.
    peers = [peer for peer in names if times[peer]]
    # The one that is nearest to libhak, or before it.
    best = max(peers, key=lambda peer: mean_of(times[peer]), default=None)
    mimalloc = newest(peers, "mimalloc")
    for what, peer, rows, target in (
            ("time over mimalloc's", mimalloc, times, 0.80),
            ("time over the best's", best, times, 0.90),
            ("peak memory over mimalloc's", mimalloc, peaks, 0.50),
            ("peak memory over snmalloc's", newest(peers, "snmalloc"), peaks, 0.90),
            ("peak memory over glibc's", "glibc" if "glibc" in peers else None, peaks, 1.00)):
        if peer is None:
            verdicts.add_missing(f"geometric mean, {what}: not among the peers that came through")
            continue
        verdicts.add(f"geometric mean, {what} ({peer}, rows: {len(rows[peer])})", target,
                     mean_of(rows[peer]), *of_geometric_mean(list(rows[peer].values())))


def judge_rows(verdicts, all_results):
    """No program far behind the best peer, and most of them before all."""
    rows = []
    for row, results in all_results.items():
        best = best_peer_of_row(results, "seconds")
        if best is None or not isinstance(results[HAK], list):
            verdicts.add_missing(f"{row}: {results[HAK]}" if best else f"{row}: no peer")
            continue
        values = ratios(results[HAK], results[best], "seconds")
        rows.append([ratios(results[HAK], results[peer], "seconds")
                     for peer in peers_in({row: results}) if isinstance(results[peer], list)])
        verdicts.add(f"{row}: time over {best}'s", 1.10, statistics.median(values),
                     *of_median(values))
    # A row that libhak failed in, or that nobody else came through, is not won.
    lost = len(all_results) - len(rows)
    low, high = of_behind(rows)
    verdicts.add(f"rows in which libhak is not the fastest, of {len(all_results)}",
                 len(all_results) // 3, lost + sum(map(is_behind, rows)), lost + low, lost + high)


def values_of(samples, key):
    return [sample[key] for sample in samples]


def judge_key(verdicts, what, target, values):
    verdicts.add(what, target, statistics.median(values), *of_median(values))


def judge_memory(verdicts, all_results):
    for row, results in all_results.items():
        samples = results[HAK]
        if not isinstance(samples, list):
            continue
        if row.startswith("burst ") and row.split()[2] == "100":
            judge_key(verdicts, f"{row}: MiB after light work", 16,
                      [value / MIB for value in values_of(samples, "resident_bytes")])
        elif row.startswith("burst "):
            judge_key(verdicts, f"{row}: less 16 MiB, over the live pages", 1.15,
                      [(sample["resident_bytes"] - 16 * MIB) / sample["floor_bytes"]
                       for sample in samples])
        elif row.startswith("crowd "):
            judge_key(verdicts, f"{row}: KiB a thread", 16,
                      [value / KIB for value in values_of(samples, "thread_bytes")])


def judge_latency(verdicts, all_results):
    for row, results in all_results.items():
        for key, what in (("p99_ns", "p99"), ("p999_ns", "p99.9")):
            best = best_peer_of_row(results, key)
            if best is not None and isinstance(results[HAK], list) and key in results[HAK][0]:
                judge_key(verdicts, f"{row}: {what} over {best}'s", 1.10,
                          ratios(results[HAK], results[best], key))


def judge_startup(verdicts, library, empty, settings):
    try:
        for program, *reached in startup.measure(library, empty, settings):
            verdicts.add(f"start of {program} over that with an empty library", 1.03, *reached)
        for program, *reached in startup.measure_resident(library, empty, settings):
            verdicts.add(f"{program}: KiB resident more than with an empty library", 300,
                         *(value / KIB for value in reached))
    except RunError as error:
        verdicts.add_missing(f"small processes: {error}")


def judge_extent(verdicts, all_results, row_count):
    """The targets are for the whole, of enough runs: of less, they are not met."""
    if len(all_results) < row_count:
        verdicts.add_missing(f"rows left out: {row_count - len(all_results)} of {row_count}")
    few = sum(isinstance(results[HAK], list) and len(results[HAK]) < RUNS_MIN
              for results in all_results.values())
    if few:
        verdicts.add_missing(f"rows of fewer than {RUNS_MIN} runs: {few}")


def print_targets(all_results, library, empty, settings):
    """Prints every verdict; returns how many targets were missed."""
    verdicts = Verdicts()
    every_row = rows_of(argparse.Namespace(**{**vars(settings), "programs": ""}))
    print("\ntargets")
    judge_extent(verdicts, all_results, len(every_row))
    judge_means(verdicts, all_results)
    judge_rows(verdicts, all_results)
    judge_memory(verdicts, all_results)
    judge_latency(verdicts, all_results)
    judge_startup(verdicts, library, empty, settings)
    print(f"missed: {verdicts.missed}")
    return verdicts.missed

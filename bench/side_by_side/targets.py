"""The targets for the whole of the bench: what libhak is to reach beside every peer.

A target is met when the upper end of the 95 % interval is under it, or beyond it by 3 % at most.
"""

import statistics

from . import startup
from .intervals import of_geometric_mean, of_median, ratios
from .results import best_peer_of_row, mean_of, pairs_with, peers_in
from .rows import HAK, MIB

RUNS_MIN = 15
TOLERANCE = 1.03
KIB = 1024


class Verdicts:
    """Lines of (what, target, reached, low, high)."""

    def __init__(self):
        self.missed = 0

    def add(self, what, target, reached, low, high):
        met = high <= target * TOLERANCE
        self.missed += not met
        print(f"  {'met' if met else 'MISSED':6}  {what:58} <= {target:<6.4g} "
              f"reached {reached:.3g} [{low:.3g}, {high:.3g}]")

    def add_missing(self, what):
        self.missed += 1
        print(f"  MISSED  {what}")


def newest(peers, name):
    """A library that --peer named so, such as mimalloc3, rather than Debian's."""
    return max((peer for peer in peers if peer.startswith(name)), key=len, default=None)


def judge_means(verdicts, all_results):
    peers = peers_in(all_results)
    times = {peer: pairs_with(all_results, peer, "seconds") for peer in peers}
    peaks = {peer: pairs_with(all_results, peer, "peak_bytes") for peer in peers}
    # The one that is nearest to libhak, or before it.
    best = max(peers, key=lambda peer: mean_of(times[peer]))
    mimalloc = newest(peers, "mimalloc")
    for what, peer, rows, target in (
            ("time over mimalloc's", mimalloc, times, 0.80),
            ("time over the best's", best, times, 0.90),
            ("peak memory over mimalloc's", mimalloc, peaks, 0.50),
            ("peak memory over snmalloc's", newest(peers, "snmalloc"), peaks, 0.90),
            ("peak memory over glibc's", "glibc" if "glibc" in peers else None, peaks, 1.00)):
        if peer is None:
            verdicts.add_missing(f"geometric mean, {what}: not among the peers")
            continue
        verdicts.add(f"geometric mean, {what} ({peer})", target, mean_of(rows[peer]),
                     *of_geometric_mean(list(rows[peer].values())))


def judge_rows(verdicts, all_results):
    """No program far behind the best peer, and most of them before all."""
    first = count = 0
    for row, results in all_results.items():
        best = best_peer_of_row(results, "seconds")
        if best is None or not isinstance(results[HAK], list):
            verdicts.add_missing(f"{row}: {results[HAK]}" if best else f"{row}: no peer")
            continue
        values = ratios(results[HAK], results[best], "seconds")
        count += 1
        first += statistics.median(values) < 1
        verdicts.add(f"{row}: time over {best}'s", 1.10, statistics.median(values),
                     *of_median(values))
    behind = count - first
    verdicts.add(f"rows that a peer is faster in, of {count}", count / 3, behind, behind, behind)


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


def judge_startup(verdicts, library, directory, settings):
    for program, *reached in startup.measure(library, directory, settings):
        verdicts.add(f"start of {program} over that with an empty library", 1.03, *reached)
    growth = startup.resident_growth(library, directory) / KIB
    verdicts.add("KiB resident more than with an empty library", 300, growth, growth, growth)


def print_targets(all_results, library, directory, settings):
    """Prints every verdict; returns how many targets were missed."""
    verdicts = Verdicts()
    print("\ntargets")
    judge_means(verdicts, all_results)
    judge_rows(verdicts, all_results)
    judge_memory(verdicts, all_results)
    judge_latency(verdicts, all_results)
    judge_startup(verdicts, library, directory, settings)
    print(f"missed: {verdicts.missed}")
    return verdicts.missed

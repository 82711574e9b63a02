"""What people see: a table for each row, the means, every run as CSV."""

import os
import pathlib
import platform
import re
import statistics
import sys
import time

from .intervals import of_geometric_mean, of_median, ratios
from .results import mean_of, pairs_with, pairs_with_best, peers_in
from .rows import HAK, MIB

KEYS = ("seconds", "peak_bytes")
BEST = "best of each row"

# What some programs say beside time and memory: how it is called, and what it is divided by.
MORE = {
    "minor_faults": ("page faults", 1),
    "p50_ns": ("p50 ns", 1), "p99_ns": ("p99 ns", 1), "p999_ns": ("p99.9 ns", 1),
    "max_ns": ("longest us", 1000),
    "thread_bytes": ("KiB a thread", 1024),
    "freed_bytes": ("MiB when freed", MIB), "soon_bytes": ("0.1 s later", MIB),
    "later_bytes": ("1 s", MIB), "late_bytes": ("10 s", MIB),
    "pairs_bytes": ("1,000 pairs", MIB), "floor_bytes": ("the live pages", MIB),
    "marked_bytes": ("of it marked", MIB), "marking_seconds": ("ms of that in madvise", 0.001),
    "worked_bytes": ("MiB after light work", MIB), "trimmed_bytes": ("after a trim", MIB),
    "trim_seconds": ("ms of trim", 0.001), "again_seconds": ("ms to take it again", 0.001),
    "again_faults": ("with page faults", 1),
}


def median_of(samples, key):
    return statistics.median(sample[key] for sample in samples)


def format_seconds(seconds):
    return f"{seconds * 1000:.3f} ms" if seconds < 0.1 else f"{seconds:.3f} s"


def print_more(samples):
    said = [f"{label} {median_of(samples, key) / divisor:.1f}"
            for key, (label, divisor) in MORE.items() if key in samples[0]]
    if said:
        print(f"  {'':10} {', '.join(said)}")


def print_table(row, results, settings):
    """Medians with their range, and libhak's share of each peer's time and memory."""
    kind = "whole process" if row.whole_process else row.timed
    print(f"\n{row.title(settings)}: time of the {kind}, runs: {row.runs(settings)}")
    print(f"  {'':10} {'median':>11} {'min':>11} {'max':>11} {'peak MiB':>9} {'end MiB':>9}"
          f"  {HAK}/peer: {'time':>15} {'peak':>18}")
    for name, samples in results.items():
        if isinstance(samples, str):
            print(f"  {name:10} FAILED: {samples}")
            continue
        seconds = [sample["seconds"] for sample in samples]
        line = f"  {name:10}"
        for value in (statistics.median(seconds), min(seconds), max(seconds)):
            line += f" {format_seconds(value):>11}"
        line += f" {median_of(samples, 'peak_bytes') / MIB:9.1f}"
        line += f" {median_of(samples, 'resident_bytes') / MIB:9.1f}"
        if name != HAK and isinstance(results[HAK], list):
            line += f" {format_ratio(results[HAK], samples, 'seconds'):>29}"
            line += f" {format_ratio(results[HAK], samples, 'peak_bytes'):>18}"
        print(line)
        print_more(samples)
        if "superslab_peak_count" in samples[0]:
            print(f"  {'':10} SuperSlabs: {median_of(samples, 'superslab_peak_count'):g} at peak, "
                  f"{median_of(samples, 'superslab_opened_total'):g} opened in total, "
                  f"{median_of(samples, 'superslab_open_count'):g} open at the end")
    sys.stdout.flush()


def ratio(samples, peer_samples, key):
    """Of runs of the same round, the median."""
    return statistics.median(ratios(samples, peer_samples, key))


def format_ratio(samples, peer_samples, key):
    """With its interval."""
    low, high = of_median(ratios(samples, peer_samples, key))
    return f"{ratio(samples, peer_samples, key):.2f} [{low:.2f}, {high:.2f}]"


def format_mean(rows):
    """Of the rows' medians, with its interval."""
    low, high = of_geometric_mean(list(rows.values()))
    return f"{mean_of(rows):.2f} [{low:.2f}, {high:.2f}]"


def print_means(all_results):
    """libhak/peer over the rows that both came through."""
    peers = peers_in(all_results)
    others = {name for results in all_results.values() for name in results} - {HAK, *peers}
    pairs = {name: [pairs_with(all_results, name, key) for key in KEYS]
             for name in (*peers, *sorted(others))}
    if len(peers) > 1:
        pairs[BEST] = [pairs_with_best(all_results, key) for key in KEYS]
    lines = [f"  {name:{len(BEST)}} time {format_mean(times)}, peak memory {format_mean(peaks)}, "
             f"rows: {len(times)}" for name, (times, peaks) in pairs.items() if times]
    if lines:
        print("\ngeometric mean of libhak/peer over the rows above", *lines, sep="\n")


def print_limit(all_results):
    """Row by row, how far the malloc is that does next to nothing."""
    lines = [f"  {row:44} {format_ratio(results[HAK], results['limit'], 'seconds'):>20}"
             f" {format_ratio(results[HAK], results['limit'], 'peak_bytes'):>18}"
             for row, results in all_results.items()
             if isinstance(results[HAK], list) and isinstance(results.get("limit"), list)]
    if lines:
        print(f"\n{HAK} over the limit: time, peak memory", *lines, sep="\n")


def print_machine(allocators):
    model = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text("utf-8"),
                      re.MULTILINE)
    print(f"{model.group(1) if model else platform.machine()}, {os.cpu_count()} processors, "
          f"Linux {platform.release()}, load {os.getloadavg()[0]:.2f}, "
          f"{time.strftime('%Y-%m-%d %H:%M')}")
    for name, path in allocators.items():
        print(f"  {name:10} {path.resolve() if path else ' '.join(platform.libc_ver())}")

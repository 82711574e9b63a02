"""The verdicts: what a row must reach."""

import math

from .rows import HAK, MIB
from .table import ratio

SUPERSLAB_BYTES = 2 * MIB


def judge_seconds(row, results):
    """Yields (what, target, reached, passed) for each peer that the row is judged by."""
    must_win = row.factor == 1.0
    sign = "<" if must_win else "<="
    for peer in row.judged_by:
        peer_samples = results.get(peer, "not installed")
        if isinstance(peer_samples, str):
            yield f"time over {peer}'s", f"no target: {peer} {peer_samples}", "", False
            continue
        reached = ratio(results[HAK], peer_samples, "seconds")
        passed = reached < row.factor if must_win else reached <= row.factor
        yield f"time over {peer}'s", f"{sign} {row.factor:.2f}", f"{reached:.3f}", passed


def judge_settle(samples):
    """Memory of the 8,192 slot row. The worst run counts: a bound holds always or not at all."""
    if any("superslab_peak_count" not in sample for sample in samples):
        yield "SuperSlab counts", "hak_stats_get", "the library has none", False
        return
    for what, key, limit_of in (
            ("SuperSlabs at peak", "superslab_peak_count",
             lambda s: math.ceil(s["live_peak_bytes"] / SUPERSLAB_BYTES) * 1.25 + 2),
            ("SuperSlabs opened in total", "superslab_opened_total",
             lambda s: s["superslab_peak_count"] + 2)):
        worst = max(samples, key=lambda s: s[key] - limit_of(s))
        limit = limit_of(worst)
        yield what, f"<= {limit:g}", f"{worst[key]:g}", worst[key] <= limit
    resident = max(sample["resident_bytes"] for sample in samples)
    yield "resident after --settle", "<= 8 MiB", f"{resident / MIB:.2f} MiB", resident <= 8 * MIB


def judge_churn(samples):
    growth = max(sample["resident_bytes"] - sample["warm_resident_bytes"] for sample in samples)
    yield ("resident growth after 1,000 threads", "<= 256 KiB", f"{growth / 1024:.0f} KiB",
           growth <= 256 * 1024)


def judge(row, results):
    """Yields the verdicts of a row; where libhak crashed there is nothing else to judge."""
    if isinstance(results[HAK], str):
        yield "no crash", "every run ends", results[HAK], False
        return
    yield "no crash", "every run ends", f"runs: {len(results[HAK])}", True
    yield from judge_seconds(row, results)
    if row.memory == "settle":
        yield from judge_settle(results[HAK])
    if row.memory == "churn":
        yield from judge_churn(results[HAK])


def print_check(rows, all_results, settings):
    """Prints every verdict; returns how many failed."""
    failed = 0
    print("\ncheck")
    for row in rows:
        title = row.title(settings)
        print(f"  {title}")
        for what, target, reached, passed in judge(row, all_results[title]):
            failed += not passed
            print(f"    {'pass' if passed else 'FAIL'}  {what:36} target {target:14} "
                  f"reached {reached}")
    print(f"failed: {failed}")
    return failed

"""What is asked of all results of a run: pairs with a peer, its mean, the best peer of a row.

Results are row to allocator to samples, or to the words of the run that failed.
"""

import statistics

from .intervals import geometric_mean, ratios
from .rows import HAK

NOT_PEERS = (HAK, "limit")


def peers_in(all_results):
    names = {name for results in all_results.values() for name in results}
    return sorted(names - set(NOT_PEERS))


def pairs_with(all_results, peer, key):
    """Row to libhak/peer of each round, where both came through."""
    return {row: ratios(results[HAK], results[peer], key) for row, results in all_results.items()
            if isinstance(results[HAK], list) and isinstance(results.get(peer), list)}


def best_peer_of_row(results, key):
    """The peer with the least median, or None."""
    medians = {name: statistics.median(sample[key] for sample in samples)
               for name, samples in results.items()
               if name not in NOT_PEERS and isinstance(samples, list) and key in samples[0]}
    return min(medians, key=medians.get) if medians else None


def pairs_with_best(all_results, key):
    """As pairs_with, with the best peer of each row."""
    found = {}
    for row, results in all_results.items():
        best = best_peer_of_row(results, key)
        if best is not None and isinstance(results[HAK], list):
            found[row] = ratios(results[HAK], results[best], key)
    return found


def mean_of(rows):
    return geometric_mean([statistics.median(row) for row in rows.values()])

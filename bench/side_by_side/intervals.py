"""How sure a ratio is: 95 % intervals of paired runs."""

import math
import random
import statistics

# So many drawings make the percentiles steady to the second digit.
DRAWINGS = 2000
DRAWING_SEED = 42
TAIL = 0.025


def ratios(samples, peer_samples, key):
    """libhak's run over the peer's of the same round: a machine that is slower for some seconds is
    so for both of a pair."""
    return [sample[key] / peer[key] for sample, peer in zip(samples, peer_samples)]


def of_median(values):
    """(low, high) of the median, by order statistics, which supposes nothing of how the values
    spread: the chance that a median lies beyond the k-th smallest is that of fewer than k heads in
    as many throws of a coin. With fewer than 6 values there is no such interval: all of them."""
    ordered = sorted(values)
    count = len(ordered)
    heads = chance = 0
    while True:
        chance += math.comb(count, heads) / 2 ** count
        if chance > TAIL:
            break
        heads += 1
    place = max(heads - 1, 0)
    return ordered[place], ordered[count - 1 - place]


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(value) for value in values))


def of_geometric_mean(rows):
    """(low, high) of the geometric mean of the rows' medians, by drawing each row's runs anew with
    replacement (Efron, 1979)."""
    draw = random.Random(DRAWING_SEED)
    means = sorted(geometric_mean([statistics.median(draw.choices(row, k=len(row)))
                                   for row in rows]) for _ in range(DRAWINGS))
    return means[int(TAIL * DRAWINGS)], means[int((1 - TAIL) * DRAWINGS) - 1]

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


def middle(drawn):
    """(low, high) of what was drawn, without its tails."""
    ordered = sorted(drawn)
    return ordered[int(TAIL * len(ordered))], ordered[int((1 - TAIL) * len(ordered)) - 1]


def of_geometric_mean(rows):
    """(low, high) of the geometric mean of the rows' medians, by drawing each row's runs anew with
    replacement (Efron, 1979)."""
    draw = random.Random(DRAWING_SEED)
    return middle(geometric_mean([statistics.median(draw.choices(row, k=len(row)))
                                  for row in rows]) for _ in range(DRAWINGS))


def is_behind(peers):
    """Of a row, a list of ratios for each peer: whether one of these is as fast, or faster."""
    return any(statistics.median(values) >= 1 for values in peers)


def of_behind(rows):
    """(low, high) of the number of rows that are behind, by drawing rounds anew: a round has a run
    of each peer."""
    draw = random.Random(DRAWING_SEED)

    def drawn(peers):
        rounds = draw.choices(range(len(peers[0])), k=len(peers[0]))
        return [[values[number] for number in rounds] for values in peers]

    return middle(sum(is_behind(drawn(peers)) for peers in rows) for _ in range(DRAWINGS))

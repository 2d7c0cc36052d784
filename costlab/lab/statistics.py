"""The arithmetic of a paired comparison. Pure: numbers in, numbers out, a seed where chance is used.

A round gives one difference d = ln(B/A). With ten rounds whose B takes 10 % longer, give or take 3 %:
hodges_lehmann(d) is near ln(1.1) = 0.095, interval(d) near (0.073, 0.117), sign_flip_p(d) = 0.002.
"""

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import numpy as np

DRAWS = 10_000
LEVEL = 0.95
_CELLS = 5_000_000  # pairs of rounds times draws that are counted at once: 20 MB for each array of them
_FEWEST_TO_TELL = 8
_AT_MOST_ONE_IN = 6
_WILD = 8.0  # median distances from the median


def hodges_lehmann(differences: Sequence[float]) -> float:
    """The median of all pairwise means: as exact as the mean on clean data, unmoved by a quarter of wild values.

    Source: Hodges & Lehmann, "Estimates of location based on rank tests", 1963.
    """
    values = np.asarray(differences, dtype=float)
    first, second = np.triu_indices(len(values))
    return float(np.median((values[first] + values[second]) / 2))


def interval(differences: Sequence[float], seed: int) -> tuple[float, float]:
    """95 % interval of the Hodges-Lehmann estimate, by drawing rounds again with replacement 10,000 times.

    A block's requests are not independent of each other, rounds nearly are: so rounds are drawn, never requests. Wild
    ones are left out before, and where rounds resemble their neighbours the interval is made wider.
    """
    estimate, values = hodges_lehmann(differences), _without_wild(differences)
    pairs = len(values) * (len(values) + 1) // 2
    parts = np.array_split(resamples(len(values), seed), math.ceil(DRAWS * pairs / _CELLS))
    drawn = np.concatenate([_estimates(values, part) for part in parts])
    low, high = stretched(hodges_lehmann(values), drawn, len(values))
    wider = widened(differences)
    return min(estimate, estimate - wider * (estimate - low)), max(estimate, estimate + wider * (high - estimate))


def _without_wild(differences: Sequence[float]) -> np.ndarray:
    """Without those further from the median than eight times the median distance, which is five standard deviations.

    The estimate does not need it, its interval does: of ten rounds one that took ten times as long is drawn three times
    or more often than an interval of 95 % can overlook. Where more than one in six is that far off they are no
    accident, and stay; fewer than six rounds do not tell.
    """
    values = np.asarray(differences, dtype=float)
    away = np.abs(values - np.median(values))
    limit = _WILD * np.median(away)
    few = (away > limit).sum() <= len(values) // _AT_MOST_ONE_IN
    return values[away <= limit] if limit and few else values


def _estimates(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The Hodges-Lehmann estimate of each row of round numbers.

    A row holds some rounds several times and others never, so its pairwise means are those of ``values``, each as
    often as its two rounds come together: they are sorted once and counted 10,000 times, in a tenth of the time that
    10,000 medians take.
    """
    rows, rounds = drawn.shape
    first, second = np.triu_indices(rounds)
    means = (values[first] + values[second]) / 2
    order = np.argsort(means, kind="stable")
    means, first, second = means[order], first[order], second[order]
    numbered = drawn + rounds * np.arange(rows)[:, None]
    times = np.bincount(numbered.ravel(), minlength=rows * rounds).reshape(rows, rounds).T.astype(np.int32)
    pairs = times[first] * times[second]
    alone = np.flatnonzero(first == second)
    pairs[alone] = (pairs[alone] + times[first[alone]]) // 2  # k copies make k(k+1)/2 pairs among themselves
    seen = np.cumsum(pairs, axis=0, dtype=np.int32)
    all_pairs = rounds * (rounds + 1) // 2
    below = means[(seen < (all_pairs + 1) // 2).sum(axis=0)]
    above = means[(seen < all_pairs // 2 + 1).sum(axis=0)]
    return (below + above) / 2


def resamples(rounds: int, seed: int) -> np.ndarray:
    """DRAWS rows of round numbers drawn with replacement."""
    return np.random.default_rng(seed).integers(0, rounds, size=(DRAWS, rounds))


def stretched(estimate: float, drawn: np.ndarray, rounds: int) -> tuple[float, float]:
    """The middle 95 % of ``drawn``, stretched about ``estimate`` for the few rounds there are.

    The plain percentile interval knows the spread of the sample only, which is too small by sqrt((n-1)/n), and takes
    the normal quantile where Student's belongs: with 5 rounds it would cover 83 % and not 95. One round: no interval,
    everything is possible. Source: Hesterberg, "What teachers should know about the bootstrap", 2015.
    """
    if rounds < 2:
        return -math.inf, math.inf
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    factor = student_quantile(rounds - 1) / NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(rounds / (rounds - 1))
    return float(estimate - factor * (estimate - low)), float(estimate + factor * (high - estimate))


@cache
def student_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, by integrating its density; right to 0.1 % (12.71 at 1, 2.262 at 9)."""
    x = np.linspace(0.0, 200.0, 400_001)
    density = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    area = constant * np.cumsum((density[1:] + density[:-1]) / 2) * (x[1] - x[0])
    return float(np.interp(LEVEL / 2, area, x[1:]))


def widened(differences: Sequence[float]) -> float:
    """How much wider an interval has to be because rounds depend on those before them; 1.0 where they do not show it.

    They do where the lag-1 autocorrelation r is beyond what one in twenty independent runs shows; fewer than eight
    rounds do not tell. The mean of such rounds spreads sqrt((1 + r) / (1 - r)) times as far. What a short run shows of
    r is less than there is, so the interval is still somewhat narrow then.
    Source: Anderson, "Distribution of the serial correlation coefficient", 1942.
    """
    n = len(differences)
    values = _without_wild(differences) if n >= _FEWEST_TO_TELL else np.zeros(n)
    if not np.any(values != values[:1]):
        return 1.0
    away = values - values.mean()
    r = float((away[1:] * away[:-1]).sum() / (away**2).sum())
    shown = r > -1 / n + NormalDist().inv_cdf(LEVEL) / math.sqrt(n)
    return math.sqrt((1 + r) / (1 - r)) if shown else 1.0


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p: the share of all 2^n ways to flip the signs whose rank sum is at least as lopsided as ours.

    Exact for every n and untouched by how wild a value is, since ranks stand for the sizes. Six rounds are the
    fewest that can reach 0.05 (2/64). Source: Wilcoxon, "Individual comparisons by ranking methods", 1945.
    """
    values = np.asarray([value for value in differences if value != 0], dtype=float)
    if len(values) == 0:
        return 1.0
    doubled = doubled_ranks(np.abs(values))
    total = int(doubled.sum())
    ways = np.zeros(total + 1)
    ways[0] = 1
    for rank in doubled:
        moved = np.zeros_like(ways)
        moved[rank:] = ways[: len(ways) - rank]
        ways += moved
    lopsided = abs(2 * int(doubled[values > 0].sum()) - total)
    extreme = np.abs(2 * np.arange(total + 1) - total) >= lopsided
    return float(ways[extreme].sum() / ways.sum())


def doubled_ranks(sizes: np.ndarray) -> np.ndarray:
    """Twice the mean rank of each size, so that ties stay whole numbers."""
    below = (sizes[:, None] > sizes[None, :]).sum(axis=1)
    equal = (sizes[:, None] == sizes[None, :]).sum(axis=1)
    return 2 * below + equal + 1


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for being several: the smallest counts n times, the next n-1 times, and so on.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        corrected[i] = largest
    return corrected


def wilson(yes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share, of which ``yes`` of ``trials`` were seen.

    >>> [round(end, 3) for end in wilson(0, 10)]
    [0.0, 0.278]
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    middle = (yes + z**2 / 2) / (trials + z**2)
    half = z * math.sqrt(yes * (trials - yes) / trials + z**2 / 4) / (trials + z**2)
    return max(0.0, middle - half), min(1.0, middle + half)


def fisher_two_sided_p(yes: int, trials: int, other_yes: int, other_trials: int) -> float:
    """Two-sided p of Fisher's exact test: all tables with these sums that are no more likely than the one seen.

    >>> round(fisher_two_sided_p(10, 10, 4, 10), 4)
    0.0108
    """
    both, everything = yes + other_yes, trials + other_trials
    ways = [math.comb(trials, k) * math.comb(other_trials, both - k) for k in range(min(both, trials) + 1)]
    return sum(way for way in ways if way <= ways[yes]) / math.comb(everything, both)

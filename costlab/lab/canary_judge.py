"""Canary judge: does more go wrong for the canary than for the baseline beside it? Pure: counts in, a verdict out.

What goes wrong is counted in three metrics, each a share of requests: errors, wrong answers, and late answers (later
than nine in ten of the baseline's). A metric fails when all of these hold, and one failed metric is a failed canary:

    ranks     the intervals' shares of both groups, ranked together, are lopsided: Mann-Whitney U, p <= 0.02
    chance    so many bad requests among all those of the canary: Fisher's exact test, p <= 0.02
    size      the canary's share is more than 25 % above the baseline's

Example: eight intervals of 20 requests in each group. One in five of the canary's fails: 32 of 160 against none, every
interval of the canary ranks above every one of the baseline, p = 0.0002: fail. With 18 late answers against 15 the
share is 20 % larger: pass, and so are 3 against none, which chance alone does (p = 0.12). Four intervals cannot fail
(p >= 2/70): not enough data.

Ranks alone would do if both groups had as many requests. They have as many users, but where one user asks a tenth of
everything, 5 requests stand against 50 in an interval, and small shares then rank differently though they are the
same (10 to 50 % false alarms, simulated). Fisher's test alone would take one bad moment for a bad version.

Trade-off: no distribution is assumed and no outlier counts for more than its rank; but a pass is the lack of evidence,
not its opposite, and what requests do not show (a leak) is not seen.
Use instead: an experiment (costlab run), which compares in rounds and gives an interval, when there is time for one.

Units: requests, shares of them. Source: Mann & Whitney (1947); Netflix, "Automated Canary Analysis at Netflix with
Kayenta" (2018): confidence 0.98, tolerance 25 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from costlab.lab.statistics import doubled_ranks

SIGNIFICANT = 0.02
TOLERANCE = 0.25
LATE_SHARE = 0.1
MIN_INTERVALS = 5
MIN_REQUESTS = 3
# Up to this many figures the distribution of U is counted out, ties and all; beyond, the normal one is as good.
_EXACT = 60

PASS, FAIL, NO_DATA = "pass", "fail", "not enough data"


class Counts(NamedTuple):
    """What a group was answered during an interval; ``slower`` counts the requests slower than each time in seconds."""

    requests: float
    errors: float
    wrong: float
    slower: Mapping[float, float]


class Interval(NamedTuple):
    """The two groups during the same interval."""

    baseline: Counts
    canary: Counts


@dataclass(frozen=True)
class Comparison:
    """One metric: both shares of requests, how likely chance makes them so (the larger p), and whether it failed."""

    metric: str
    baseline: float
    canary: float
    p: float
    failed: bool


@dataclass(frozen=True)
class Verdict:
    """``word``: pass, fail or not enough data; the comparisons it rests on, over how many intervals."""

    word: str
    comparisons: tuple[Comparison, ...]
    intervals: int


def judge(intervals: Sequence[Interval]) -> Verdict:
    """The verdict on intervals in which both groups had enough requests; the others are left out."""
    usable = [one for one in intervals if min(one.baseline.requests, one.canary.requests) >= MIN_REQUESTS]
    if len(usable) < MIN_INTERVALS:
        return Verdict(NO_DATA, (), len(usable))
    late = _late(usable)
    comparisons = (
        _compare("errors", usable, lambda counts: counts.errors),
        _compare("wrong answers", usable, lambda counts: counts.wrong),
        _compare(f"answers after {late * 1000:g} ms", usable, lambda counts: counts.slower[late]),
    )
    return Verdict(FAIL if any(one.failed for one in comparisons) else PASS, comparisons, len(usable))


def _late(intervals: Sequence[Interval]) -> float:
    """The time that at most LATE_SHARE of the baseline's requests took longer than."""
    requests = sum(one.baseline.requests for one in intervals)
    times = sorted(intervals[0].baseline.slower)
    slower = (sum(one.baseline.slower[seconds] for one in intervals) for seconds in times)
    return next((time for time, count in zip(times, slower, strict=True) if count <= LATE_SHARE * requests), times[-1])


def _compare(metric: str, intervals: Sequence[Interval], bad) -> Comparison:
    groups = [[getattr(one, name) for one in intervals] for name in Interval._fields]
    ranks = mann_whitney_p(*([bad(one) / one.requests for one in group] for group in groups))
    requests = [sum(one.requests for one in group) for group in groups]
    found = [sum(bad(one) for one in group) for group in groups]
    p = max(ranks, fisher_p(*map(round, (found[0], requests[0], found[1], requests[1]))))
    baseline, canary = (bad / of for bad, of in zip(found, requests, strict=True))
    failed = p <= SIGNIFICANT and canary > (1 + TOLERANCE) * baseline
    return Comparison(metric, baseline, canary, p, failed)


def fisher_p(bad: int, requests: int, canary_bad: int, canary_requests: int) -> float:
    """One-sided p of Fisher's exact test: how likely the canary has so many of all bad requests, or more.

    >>> round(fisher_p(1, 10, 8, 10), 5)
    0.00274
    """
    all_bad, everything = bad + canary_bad, requests + canary_requests
    ways = _log_choose(everything, canary_requests)
    most = min(all_bad, canary_requests)
    return min(1.0, sum(_share(k, all_bad, everything, canary_requests, ways) for k in range(canary_bad, most + 1)))


def _share(k: int, bad: int, everything: int, drawn: int, ways: float) -> float:
    """The share of all draws that have ``k`` of the ``bad`` in them."""
    if drawn - k > everything - bad:
        return 0.0
    return math.exp(_log_choose(bad, k) + _log_choose(everything - bad, drawn - k) - ways)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def mann_whitney_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of the Mann-Whitney U test; 1.0 when all figures are equal.

    >>> round(mann_whitney_p([19, 22, 16, 29, 24], [20, 11, 17, 12]), 4)
    0.1111
    """
    ranks = doubled_ranks(np.asarray([*first, *second], dtype=float))
    return (_exact_p if len(ranks) <= _EXACT else _normal_p)(ranks, len(first))


def _exact_p(ranks: np.ndarray, size: int) -> float:
    """The share of all ways to pick ``size`` of the ranks whose sum is at least as far from the middle as ours."""
    total = int(ranks.sum())
    ways = np.zeros((size + 1, total + 1))
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, : total + 1 - rank].copy()
    # In units of 1 / len(ranks), the middle is a whole number.
    distance = np.abs(np.arange(total + 1) * len(ranks) - size * total)
    ours = abs(int(ranks[:size].sum()) * len(ranks) - size * total)
    return float(ways[size][distance >= ours].sum() / ways[size].sum())


def _normal_p(ranks: np.ndarray, size: int) -> float:
    """The normal approximation, corrected for ties and for continuity."""
    n, other = len(ranks), len(ranks) - size
    _, ties = np.unique(ranks, return_counts=True)
    spread = math.sqrt(size * other / 12 * (n + 1 - (ties**3 - ties).sum() / (n * (n - 1))))
    if spread == 0:
        return 1.0
    u = ranks[:size].sum() / 2 - size * (size + 1) / 2
    distance = max(0.0, abs(u - size * other / 2) - 0.5)
    return min(1.0, 2 * (1 - NormalDist().cdf(distance / spread)))

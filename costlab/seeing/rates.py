"""Rates and quantiles between two scrapes of a service. Pure: samples in, figures out.

    before ──── seconds ────► after
    counters       how much each rose, as Prometheus counts it: one that fell began anew
    histograms     buckets of the requests in between, and quantiles out of those

Units: seconds. Source: Prometheus' rate() and histogram_quantile(), which also say what is lost: a quantile is as
exact as the bucket it falls into is narrow, and above the last bound it is that bound.
"""

import math
from collections.abc import Iterable, Mapping

# A sample's name and its labels, sorted.
Series = tuple[str, tuple[tuple[str, str], ...]]
Samples = Mapping[Series, float]
# Upper bound (above 0, math.inf at the end) to the number of observations that do not exceed it.
Buckets = Mapping[float, float]

_RISING = ("_total", "_sum", "_count", "_bucket")


def keyed(samples: Iterable[tuple[str, Mapping[str, str], float]]) -> dict[Series, float]:
    """``samples`` (name, labels, value) by series."""
    return {(name, tuple(sorted(labels.items()))): value for name, labels, value in samples}


def rises(before: Samples, after: Samples) -> dict[Series, float]:
    """How much each counter of a service rose; never less than nothing.

    When one fell, the service was started anew in between, and all of its counters with it: what they hold has been
    counted since. To tell that of each counter alone would take buckets of a histogram from two lives.
    """
    now = {series: value for series, value in after.items() if series[0].endswith(_RISING)}
    anew = any(value < before.get(series, 0.0) for series, value in now.items())
    anew = anew or any(series not in after for series in before if series[0].endswith(_RISING))
    return now if anew else {series: value - before.get(series, 0.0) for series, value in now.items()}


def select(samples: Samples, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of each sample of that name that carries ``labels``."""
    found = ((dict(own), value) for (sample, own), value in samples.items() if sample == name)
    return [(own, value) for own, value in found if labels.items() <= own.items()]


def total(samples: Samples, name: str, **labels: str) -> float:
    """Their sum."""
    return sum(value for _, value in select(samples, name, **labels))


def quantile(share: float, buckets: Buckets) -> float | None:
    """The value that ``share`` (above 0, up to 1) of the observations do not exceed; None without any.

    Within its bucket it lies as if observations were spread evenly from one bound to the next, the first from 0.

    >>> quantile(0.5, {0.1: 10, 0.2: 30, math.inf: 30})
    0.125
    """
    bounds = sorted(buckets)
    count = buckets[bounds[-1]] if bounds else 0.0
    if count <= 0:
        return None
    rank = share * count
    lower, below = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank or bound == bounds[-1]:
            break
        lower, below = bound, buckets[bound]
    if math.isinf(bound):
        return lower
    return lower + (bound - lower) * (rank - below) / (buckets[bound] - below)

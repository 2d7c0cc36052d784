"""Latencies counted in buckets of equal ratio, so that blocks can be merged and percentiles read from the sum.

Each bucket is 0.5 % wider than the one before, so a percentile is right to 0.25 %, from 1 microsecond up to any
length. 1,000 requests leave a few hundred counts. Averaging the percentiles of two blocks is wrong (the mean of two
p95 is not the p95 of all requests); adding their histograms is right.
Source: Tene's HdrHistogram, here with logarithmic buckets in place of its linear sub-buckets. Units: seconds.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

_SMALLEST = 1e-6
_GROWTH = math.log(1.005)
# Four months; the longest block is an hour.
LARGEST_BUCKET = 6_000

Histogram = dict[int, int]


def count(latencies: np.ndarray) -> Histogram:
    """The histogram of ``latencies`` in seconds."""
    buckets = np.floor(np.log(np.maximum(latencies, _SMALLEST) / _SMALLEST) / _GROWTH).astype(int)
    numbers, counts = np.unique(buckets, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def merge(histograms: Iterable[Mapping[int, int]]) -> Histogram:
    """All counts together."""
    total: Histogram = {}
    for histogram in histograms:
        for bucket, number in histogram.items():
            total[bucket] = total.get(bucket, 0) + number
    return dict(sorted(total.items()))


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """The latency that ``share`` (0 to 1) of the requests do not exceed, in seconds; None without requests."""
    rank = max(1, math.ceil(share * sum(histogram.values())))
    seen = 0
    for bucket, number in sorted(histogram.items()):
        seen += number
        if seen >= rank:
            return value_of(bucket)
    return None


def mean(histogram: Mapping[int, int]) -> float | None:
    """The mean latency in seconds; None without requests."""
    total = sum(histogram.values())
    return sum(value_of(bucket) * number for bucket, number in histogram.items()) / total if total else None


def within(histogram: Mapping[int, int], seconds: float) -> int:
    """How many of the requests took no longer than ``seconds``, told by the middle of their bucket."""
    return sum(number for bucket, number in histogram.items() if value_of(bucket) <= seconds)


def value_of(bucket: int) -> float:
    """The middle (in ratio) of a bucket, in seconds."""
    return _SMALLEST * math.exp((bucket + 0.5) * _GROWTH)

"""A series of numbers in memory (flag ``orders.series``), one file per layout: what its figures cost to compute.

Every layout is filled from the same bytes, 8 for each number, so the database and the wire are no difference between
them; and every layout answers the same figures.
"""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from costlab.service import metrics

PERCENTILES = (50, 90, 99)


class Summary(NamedTuple):
    """Figures of a series: how many, their sum, the largest, and the value at each of PERCENTILES."""

    count: int
    total: int
    largest: int
    percentiles: tuple[int, ...]


Summarize = Callable[[bytes], Summary]

_layouts: dict[str, Summarize] = {}
_seconds = metrics.Children(metrics.SERIES_SECONDS)


def summarize(layout: str, encoded: bytes) -> Summary:
    """The figures of ``encoded``, big-endian signed numbers of 8 bytes, computed by ``layout``."""
    if not encoded:
        return Summary(0, 0, 0, (0,) * len(PERCENTILES))
    compute = _layouts.get(layout)
    if compute is None:
        compute = _layouts[layout] = import_module(f"{__name__}.{layout}").summary
    with _seconds[layout,].time():
        return compute(encoded)


def ranks(count: int) -> list[int]:
    """Where in a sorted series of ``count`` the percentiles are: the nearest rank, which is a value of the series.

    >>> ranks(200)
    [99, 179, 197]
    """
    return [-(-percentile * count // 100) - 1 for percentile in PERCENTILES]

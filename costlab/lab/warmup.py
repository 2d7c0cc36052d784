"""Was the system warm? A trend test on the 1-second medians of a block.

Counts, over all pairs of seconds, how often the later one is slower (+1) or faster (-1): Mann-Kendall. Warm systems
give about zero. Eight seconds that each are faster than the one before give -28, p = 0.0009. A block counts as
drifting when the trend is both unlikely by chance and large enough to matter; one repeat is allowed.
Source: Mann, "Nonparametric tests against trend", 1945. Alternative: discard a fixed stretch and hope.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import NormalDist, median

from costlab.lab.toml_file import Closed

UNLIKELY = 0.01
MATTERS = 0.10


class Trend(Closed):
    """``p``: how likely chance alone is. ``change``: second half over first half, 0.1 = 10 % slower."""

    p: float
    change: float

    @property
    def drifting(self) -> bool:
        """Too steady a trend for chance, and too large to ignore."""
        return self.p < UNLIKELY and abs(self.change) > MATTERS


def trend(medians: Sequence[float]) -> Trend:
    """The trend in ``medians``, one per second; fewer than four show none."""
    n = len(medians)
    if n < 4:
        return Trend(p=1.0, change=0.0)
    score = sum(math.copysign(later != earlier, later - earlier) for earlier, later in combinations(medians, 2))
    deviation = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    z = max(0, abs(score) - 1) / deviation
    change = median(medians[n // 2 :]) / median(medians[: n // 2]) - 1
    return Trend(p=2 * NormalDist().cdf(-z), change=change)

"""Latency with a long tail: a Pareto distribution, whose few large values outweigh the many small ones.

Example: at least 20 ms with alpha 1.5: half of the waits are below 32 ms, one in 10 is above 93 ms, one in 1,000 above
2 s. A page that needs 10 such calls waits 93 ms in two of three cases: the tail becomes the middle.

Trade-off: with alpha up to 2 the variance is infinite, so means need many samples and percentiles are what to look at;
a wait is cut at LONGEST_SECONDS. The smallest wait is ms, never less.
Use instead: ``latency`` for a figure that can be predicted, ``stall`` for two kinds of requests with nothing between.

Units: milliseconds; alpha has none. Source: Dean and Barroso, "The Tail at Scale" (2013); Pareto (1896).
"""

from random import Random

from costlab.service.fault_kinds.effects import Wait

LONGEST_SECONDS = 60.0


class LatencyLongTail:
    """Waits ``ms`` at least; the smaller ``alpha``, the longer the tail."""

    def __init__(self, ms: float, alpha: float) -> None:
        self._least = ms / 1000
        self._alpha = alpha

    def effect(self, random: Random) -> Wait:
        """From ms to LONGEST_SECONDS."""
        return Wait(min(LONGEST_SECONDS, self._least * random.paretovariate(self._alpha)))

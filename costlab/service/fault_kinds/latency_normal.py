"""Latency drawn from a normal distribution: a wait that varies around a mean.

Example: mean 200 ms with a standard deviation of 50 ms: two of three waits are between 150 and 250 ms, one in 44 is
above 300 ms. Draws below 0 count as 0.

Trade-off: symmetric, which latency never is; good for a known spread, wrong for tails.
Use instead: ``latency_long_tail``.

Units: milliseconds. Source: Toxiproxy's jitter; tc-netem(8), "delay ... distribution normal".
"""

from random import Random

from costlab.service.fault_kinds.effects import Wait


class LatencyNormal:
    """Waits ``mean_ms`` on average, ``sd_ms`` its standard deviation."""

    def __init__(self, mean_ms: float, sd_ms: float) -> None:
        self._mean = mean_ms / 1000
        self._deviation = sd_ms / 1000

    def effect(self, random: Random) -> Wait:
        """At least 0 s."""
        return Wait(max(0.0, random.gauss(self._mean, self._deviation)))

"""Latency: every request or call waits the same time first.

Example: a page with 3 hops of 2 ms takes 6 ms; with 200 ms before one of them 206 ms. With 8 threads that service
then answers at most 8 / 0.2 = 40 requests per second: what is slow is also small.

Trade-off: the simplest delay, and an unlikely one; all percentiles move together, so whatever reacts to the tail
(hedging, gradient limits) sees nothing of it.
Use instead: ``latency_long_tail`` for a tail, ``latency_normal`` for a spread, ``stall`` for rare pauses.

Units: milliseconds. Source: Shopify, Toxiproxy, the toxic of that name; Basiri et al., "Chaos Engineering" (2016).
"""

from random import Random

from costlab.service.fault_kinds.effects import Wait


class Latency:
    """Waits ``ms`` milliseconds."""

    def __init__(self, ms: float) -> None:
        self._wait = Wait(ms / 1000)

    def effect(self, random: Random) -> Wait:
        """Always the same."""
        return self._wait

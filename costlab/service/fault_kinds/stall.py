"""Stall: a few requests or calls stand still, the others notice nothing.

Example: one in a hundred waits 1 s. The median stays where it was, the 99th percentile is a second, and of pages that
need 20 calls nearly one in five has one that stalls (1 - 0.99^20 = 18 %).

Trade-off: two sharp values in place of a distribution, which makes what hedging and timeouts gain easy to compute.
Use instead: ``latency_long_tail`` when something between fast and stuck matters too.

Units: milliseconds; the share is the fault's rate. Source: Dean and Barroso, "The Tail at Scale" (2013).
"""

from random import Random

from costlab.service.fault_kinds.effects import Wait


class Stall:
    """Waits ``ms`` milliseconds; whom it meets is decided by the rate."""

    def __init__(self, ms: float) -> None:
        self._wait = Wait(ms / 1000)

    def effect(self, random: Random) -> Wait:
        """Always the same."""
        return self._wait

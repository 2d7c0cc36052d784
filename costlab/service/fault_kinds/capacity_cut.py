"""Capacity cut: the slot pool of a service loses a share of its slots.

Example: 8 slots of 20 ms serve 400 requests per second; a cut of 0.5 leaves 4 slots and 200. What took 20 ms at 300
per second now waits in a queue that grows by 100 every second.

Trade-off: exact and harmless, because the pool is made up; nothing else of the service gets slower. It needs a pool
that is on and has more than one slot. Two cuts at once multiply.
Use instead: ``cpu_burn``, for less of something real.

Units: share of the slots, rounded down, at least one is left.
Source: Google, "Site Reliability Engineering" (2016), chapter 22: losing capacity is how overload begins.
"""

import math
from collections.abc import Iterable

from costlab.service.fault_kinds.effects import Parts


def left(slots: int, cuts: Iterable[float]) -> int:
    """The slots that ``cuts`` leave.

    >>> left(8, [0.5]), left(8, [0.5, 0.5]), left(3, [0.9])
    (4, 2, 1)
    """
    kept = math.prod(1 - share for share in cuts)
    return max(1, math.floor(round(slots * kept, 9)))


class CapacityCut:
    """Takes ``share`` of the slots away."""

    def __init__(self, share: float) -> None:
        self._share = share

    def refusal(self, parts: Parts) -> str:
        """Why there is nothing to cut."""
        slots = 0 if parts.slots is None else parts.slots.wanted()
        if parts.slots is None:
            return "has no slot pool"
        if not slots:
            return f"has its slot pool switched off; switch it on first: costlab flags set {parts.slots.flag}=8"
        return "" if left(slots, [self._share]) < slots else f"has {slots} slots, of which {self._share:g} is none"

    def start(self, parts: Parts) -> None:
        """Take them."""
        if parts.slots is not None:
            parts.slots.cut(self._share)

    def stop(self, parts: Parts) -> None:
        """Give them back."""
        if parts.slots is not None:
            parts.slots.restore(self._share)

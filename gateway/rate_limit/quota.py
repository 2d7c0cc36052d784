"""The words every rate limit speaks: how much a client may do, and what was decided on a request.

``rate`` and ``burst`` mean the same under each of them. Burst is what a rested client may do at once; a request costs
an interval of 1/rate; the window is burst intervals, the time in which a spent burst comes back. An algorithm that
counts in windows therefore admits ``burst`` per window of burst/rate seconds: rate 10/s, burst 50 is 50 per 5 s.

Units: microseconds, whole numbers, so that the Python and the Lua form of an algorithm compute the same to the last
digit. The interval is rounded up, so a limit is never exceeded (at 70,000/s that admits 66,666/s).
"""

import math
from typing import NamedTuple


class Quota(NamedTuple):
    """``rate`` requests per second in the long run, ``burst`` at once after a quiet while."""

    rate: float
    burst: int

    @property
    def interval(self) -> int:
        """What one request costs, in microseconds."""
        return math.ceil(1_000_000 / self.rate)

    @property
    def window(self) -> int:
        """The time in which a spent burst comes back, in microseconds."""
        return self.burst * self.interval


class Decision(NamedTuple):
    """``remaining`` requests may follow at once; times in microseconds from now, ``retry_after`` 0 when admitted."""

    admitted: bool
    remaining: int
    retry_after: int
    full_after: int

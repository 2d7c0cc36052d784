"""Fixed window: a counter per client that begins again at 0 with every window of the clock.

Example: rate 10/s, burst 50, so 50 per window of 5 s. Windows begin at whole multiples of 5 s since 1970, for every
client alike. Who spends 50 at second 4.9 and 50 at second 5.1 is admitted 100 times in 0.2 s.

Trade-off: the cheapest to store and to explain (a counter and a date at which all of it is there again), but around
an edge it admits twice the limit, never more; and clients that were refused all come back at the same moment.

Use instead: a sliding window, which costs one more counter and never exceeds burst + rate·t; GCRA or a token bucket
when a client should be able to go on evenly.

Units: microseconds (quota.py); the window is burst intervals. Source: Redis documentation, INCR, "Pattern: Rate
limiter 1".
"""

from typing import NamedTuple

from gateway.rate_limit.quota import Decision


class Count(NamedTuple):
    """Requests admitted since ``start``, the beginning of the window they fell in."""

    start: int
    count: int


NEW = Count(0, 0)


def decide(interval: int, burst: int, state: Count, now: int) -> tuple[Decision, Count]:
    """The decision on a request at ``now``, and the client's count after it."""
    window = burst * interval
    start = now - now % window
    left = start + window - now
    count = state.count if state.start == start else 0
    if count >= burst:
        return Decision(False, 0, left, left), Count(start, count)
    return Decision(True, burst - count - 1, 0, left), Count(start, count + 1)

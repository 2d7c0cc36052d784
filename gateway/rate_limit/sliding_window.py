"""Sliding window: two counters per client, the last window's weighed by how much of it a window back from now covers.

Example: rate 10/s, burst 50, so 50 per 5 s. 40 were admitted in the last window, 12 so far in this one, 2 s old. The
last 5 s cover 3/5 of the last window: 40 · 3/5 + 12 = 36 count as made, so 14 more are admitted.

Trade-off: two numbers stand for a log of every request, at the price of a guess: that the last window's requests came
evenly. When they all came late, a window of 5 s may hold up to 40 · (elapsed/window) too many: always fewer than
twice the limit, and never more than burst + rate·t in any stretch of t seconds, so the doubled burst of a fixed window
cannot happen. When they all came early, as many are refused that a log would have admitted. Cloudflare found 0.003 %
of 400 million requests decided wrongly. Only admitted requests count: who is refused does not push his own limit away.

Use instead: a sliding log when the limit must hold exactly; GCRA, which has the same bound in one number.

Units: microseconds (quota.py); the window is burst intervals, the weighed count is rounded up. Source: Cloudflare,
"How we built rate limiting capable of scaling to millions of domains" (2017).
"""

from typing import NamedTuple

from gateway.rate_limit.quota import Decision


class Counts(NamedTuple):
    """Requests admitted in the window that began at ``start``, and in the one before it."""

    start: int
    previous: int
    current: int


NEW = Counts(0, 0, 0)


def decide(interval: int, burst: int, state: Counts, now: int) -> tuple[Decision, Counts]:
    """The decision on a request at ``now``, and the client's counts after it."""
    window = burst * interval
    start = now - now % window
    left = start + window - now
    _, previous, current = counts = _moved(state, start, window)
    room = burst - current - -(-previous * left // window)
    if room < 1:
        return Decision(False, 0, _wait(burst, interval, counts, left), left + (window if current else 0)), counts
    return Decision(True, room - 1, 0, left + window), Counts(start, previous, current + 1)


def _moved(state: Counts, start: int, window: int) -> Counts:
    """``state`` as seen in the window that begins at ``start``."""
    if state.start == start:
        return state
    return Counts(start, state.current if state.start == start - window else 0, 0)


def _wait(burst: int, interval: int, counts: Counts, left: int) -> int:
    """Microseconds until the weighed count leaves room for one."""
    room = burst - counts.current - 1
    if room < 0:  # not before the next window, in which these counts are the last one's
        return left + interval
    return left - room * burst * interval // counts.previous

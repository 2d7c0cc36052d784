"""Sliding log: the moment of every admitted request is kept for a window, and their number is the count.

Example: rate 10/s, burst 50, so 50 in any 5 s. After 50 requests between seconds 0 and 1, the next is admitted at
second 5, when the first leaves the log, and so on at the pace at which they came.

Trade-off: the only one that admits exactly the limit in every window, wherever it begins, and refuses nothing that
the limit allows. It pays with memory: about 10 bytes per admitted request in Redis, 1 MB for a client with a burst of
100,000, and with time that grows with the burst.

Use instead: a sliding window, two numbers for an answer that is almost as good; GCRA when the burst is large.

Units: microseconds (quota.py); the window is burst intervals, the moment t has left it at t + window. Source: N. Mahdi
(Figma), "An alternative approach to rate limiting" (2017).
"""

from bisect import bisect_right

from gateway.rate_limit.quota import Decision

NEW: tuple[int, ...] = ()


def decide(interval: int, burst: int, state: tuple[int, ...], now: int) -> tuple[Decision, tuple[int, ...]]:
    """The decision on a request at ``now``, and the client's log after it, oldest first."""
    window = burst * interval
    log = state[bisect_right(state, now - window) :]
    if len(log) >= burst:
        return Decision(False, 0, log[0] + window - now, log[-1] + window - now), log
    return Decision(True, burst - len(log) - 1, 0, window), (*log, now)

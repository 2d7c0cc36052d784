"""Token bucket: a bucket per client that fills at the rate, holds at most a burst, and gives a token to each request.

Example: rate 10/s, burst 3. Three requests at once empty the bucket; a fourth is refused and told to come back in
100 ms, when the next token has dripped in. After 300 quiet milliseconds the bucket is full again. In any stretch of t
seconds at most burst + rate·t requests are admitted.

Trade-off: the limit people have in mind (a reserve and a pace), in two numbers per client. GCRA decides exactly the
same with one: its theoretical arrival time is the moment at which the bucket will be full again.

Use instead: GCRA, unless the level itself is wanted; a sliding log when the limit is a contract over a window.

Units: microseconds (quota.py). The level is held in microseconds of dripping: a token is one interval of it, so no
fraction of a token is ever lost. Source: J. Turner, "New directions in communications (or which way to the information
age?)", IEEE Communications Magazine 24(10), 1986; RFC 2697.
"""

from typing import NamedTuple

from gateway.rate_limit.quota import Decision


class Bucket(NamedTuple):
    """``level`` at the moment ``at``; a client not seen before has a full bucket, which is None."""

    level: int
    at: int


NEW: Bucket | None = None


def decide(interval: int, burst: int, state: Bucket | None, now: int) -> tuple[Decision, Bucket]:
    """The decision on a request at ``now``, and the client's bucket after it."""
    full = burst * interval
    level = full if state is None else min(full, state.level + max(0, now - state.at))
    if level < interval:
        return Decision(False, 0, interval - level, full - level), Bucket(level, now)
    level -= interval
    return Decision(True, level // interval, 0, full - level), Bucket(level, now)

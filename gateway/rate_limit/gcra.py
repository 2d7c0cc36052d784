"""GCRA: the generic cell rate algorithm, a rate limit that keeps one number per client.

The number is the theoretical arrival time (TAT): the moment at which a client that sends exactly at its rate would
send next. A request costs one interval of 1/rate; it is admitted if that does not push the TAT further ahead of now
than ``burst`` intervals.

Example: rate 10/s, burst 3. Three requests at once are admitted and leave the TAT 300 ms ahead; a fourth is refused
and told to come back in 100 ms. After 300 quiet milliseconds the full burst is there again. In any stretch of t
seconds at most burst + rate·t requests are admitted: 13 in any second, where a fixed window of 10 admits 20 around
its edge.

Trade-off: it knows nothing but the TAT, so it cannot say how many requests were made in the last minute; and shared
in Redis (gcra.lua) it costs every request a round trip.

Use instead: a token bucket when the level itself is wanted, it decides the same; a sliding log when the limit is a
contract over a window.

Units: microseconds (quota.py). Source: ITU-T I.371 (2004), annex A.
"""

from gateway.rate_limit.quota import Decision

NEW = 0


def decide(interval: int, burst: int, tat: int, now: int) -> tuple[Decision, int]:
    """The decision on a request at ``now``, and the client's TAT after it. A client not seen before has TAT 0.

    A TAT further ahead than a full burst was left by a clock that has since been set back; it counts as a full burst.
    """
    held = min(max(tat, now), now + burst * interval)
    pushed = held + interval
    excess = pushed - burst * interval - now
    if excess > 0:
        return Decision(False, 0, excess, held - now), held
    return Decision(True, -excess // interval, 0, pushed - now), pushed

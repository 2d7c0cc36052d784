"""Jittered expiry: each answer lives for its own random time around ``cache.ttl``, so that answers which were fetched
together do not expire together.

Example: after a deploy 1,000 answers are fetched within one second and ``cache.ttl`` is 60 s. With one fixed lifetime
all 1,000 are asked for again in the same second a minute later, and every minute from then on. Spread over ±15 %, from
51 to 69 s, they come back over 18 s: 56 a second at the most.

Trade-off: an answer may be 15 % older than ``cache.ttl`` says, and as many are fetched 15 % sooner than need be.
It does nothing for one hot key: whoever asks between its expiry and the first new answer still goes to the origin.
Use instead: single flight, a lease or XFetch when one key is hot.

Units: seconds. Source: Brooker, Timeouts, Retries, and Backoff with Jitter (Amazon Builders' Library, 2019), which asks
for jitter on every timer; RFC 9111, 4.2 (freshness).
"""

import random
from collections.abc import Callable

from services.cache_proxy.entry import Entry
from services.cache_proxy.strategies.ttl import Ttl
from services.cache_proxy.strategy import Lifetime

SPREAD = 0.15


class TtlJitter(Ttl):
    """Serve as ``ttl`` does, with a lifetime drawn evenly from ttl - 15 % to ttl + 15 %."""

    name = "ttl_jitter"

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance

    def freshness(self, entry: Entry, ttl: float) -> float:
        return min(entry.fresh, ttl * (1 + SPREAD))

    def lifetime(self, ttl: float, window: float, cost: float) -> Lifetime:
        drawn = ttl * (1 + SPREAD * (2 * self._chance() - 1))
        return Lifetime(fresh=drawn, keep=drawn)

"""Time to live: an answer is served from the cache for a fixed time after it was fetched, then fetched anew.

Example: a user is read 50 times a second and ``cache.ttl`` is 30 s. The origin answers once in 30 s instead of
1,500 times; an answer is at most 30 s old, and as a rule milliseconds, because a change invalidates it.

Trade-off: when a popular answer expires, everyone who asks before the first new one is stored goes to the origin: at
50/s and an origin that takes 40 ms, two at a time; at 5,000/s, two hundred (the stampede).
Use instead: jitter when many keys expire together; single flight, a lease or XFetch when one hot key does.

Units: seconds. Source: RFC 9111, 4.2 (freshness).
"""

from services.cache_proxy.entry import Entry
from services.cache_proxy.strategy import Action, Lifetime


class Ttl:
    """Serve what is younger than its lifetime and than ``ttl`` now, so that a lowered flag acts at once."""

    name = "ttl"
    looks = True

    def on_read(self, entry: Entry | None, now: float, ttl: float, window: float) -> Action:
        if entry is not None and now - entry.stored_at < self.freshness(entry, ttl):
            return Action.SERVE
        return Action.FILL

    def freshness(self, entry: Entry, ttl: float) -> float:
        return min(entry.fresh, ttl)

    def lifetime(self, ttl: float, window: float, cost: float) -> Lifetime:
        return Lifetime(fresh=ttl, keep=ttl)

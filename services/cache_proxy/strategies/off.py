"""No caching: every GET goes to its origin, and Redis is not asked.

The hop through the proxy stays, so ``off`` against ``ttl`` compares caching with not caching, and nothing else.
What was stored before stays in Redis until it expires or is invalidated, and is served again if it is still fresh
when caching is switched back on.
"""

from services.cache_proxy.entry import Entry
from services.cache_proxy.strategy import Action, Lifetime


class Off:
    """Leave the cache alone."""

    name = "off"
    looks = False

    def on_read(self, entry: Entry | None, now: float, ttl: float, window: float) -> Action:
        return Action.FILL

    def freshness(self, entry: Entry, ttl: float) -> float:
        return 0.0

    def lifetime(self, ttl: float, window: float, cost: float) -> Lifetime:
        return Lifetime(0.0, 0.0)

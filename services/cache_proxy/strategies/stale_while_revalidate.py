"""Stale-while-revalidate: for ``cache.stale_window`` seconds after its expiry an answer is still served, at once, while
one refresh runs in the background; nobody waits for the origin.

Example: ``cache.ttl`` is 30 s, the window 10 s, a fetch takes 200 ms. Whoever reads first after 30 s gets the answer of
30 s ago without waiting and starts the refresh; so do the hundred who read in the next 200 ms, without starting one.
Nobody is served anything older than 40 s: a key nobody has read for that long is fetched as with ``ttl``.

Trade-off: the first reader after a quiet while gets an old answer although the origin could have given a new one. What
is not stored, or older than the window, is a miss as with ``ttl``: everybody who asks goes to the origin.
Use instead: XFetch when answers must not be older than ``cache.ttl``, a lease when misses must not stampede either.

One refresh means one over all processes: it holds the lease of strategy ``lease``. One that fails leaves the stale
answer in place, and the next reader starts another.

Units: seconds. Source: RFC 5861, 3 (the stale-while-revalidate Cache-Control extension).
"""

from services.cache_proxy.entry import Entry
from services.cache_proxy.strategies.ttl import Ttl
from services.cache_proxy.strategy import Action, Lifetime, may_be_stale


class StaleWhileRevalidate(Ttl):
    """Fresh or not as ``ttl`` has it; what is not is served until its hard expiry, and refreshed behind."""

    name = "stale_while_revalidate"

    def on_read(self, entry: Entry | None, now: float, ttl: float, window: float) -> Action:
        action = super().on_read(entry, now, ttl, window)
        if action is Action.FILL and may_be_stale(entry, now, ttl, window):
            return Action.STALE_AND_REFRESH
        return action

    def lifetime(self, ttl: float, window: float, cost: float) -> Lifetime:
        return Lifetime(fresh=ttl, keep=ttl + window)

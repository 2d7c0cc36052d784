"""Lease: whoever finds an answer missing has to hold the lease on its key to ask the origin, and Redis gives it to one
caller of all processes. The others get the stale answer if there is one, or wait briefly and look again.

Example: four processes, an answer that takes 200 ms to make, 500 reads a second. When it expires ``ttl`` makes a
hundred origin calls, single flight four, the lease one. The other 99 callers get the old answer at once while it is
less than ``cache.stale_window`` past its expiry, or look every 10 ms until the new one is there.

Trade-off: a miss costs two more round trips to Redis (taking the lease, giving it back), and a waiter finds out up to
10 ms late. A holder that dies, or takes longer than LEASE_SECONDS, loses the lease: the others are held up for no
longer than that, and an origin slower than that is asked once in LEASE_SECONDS for each key. What cannot be stored (an
error, no-store) is asked for by one caller after the other.
Use instead: single flight when there is one process; it needs no Redis and wakes its waiters at once.

Units: seconds. Source: Nishtala et al., Scaling Memcache at Facebook (NSDI'13), 3.2.1: 17,000 → 1,300 queries/s.
"""

from services.cache_proxy.entry import Entry
from services.cache_proxy.strategies.ttl import Ttl
from services.cache_proxy.strategy import Action, Lifetime, may_be_stale

LEASE_SECONDS = 3.0
LOOK_AGAIN_SECONDS = 0.01


class Lease(Ttl):
    """Fresh or not as ``ttl`` has it; what is not is filled by the holder of the lease."""

    name = "lease"

    def on_read(self, entry: Entry | None, now: float, ttl: float, window: float) -> Action:
        if super().on_read(entry, now, ttl, window) is Action.SERVE:
            return Action.SERVE
        return Action.LEASE_OR_STALE if may_be_stale(entry, now, ttl, window) else Action.LEASE

    def lifetime(self, ttl: float, window: float, cost: float) -> Lifetime:
        return Lifetime(fresh=ttl, keep=ttl + window)

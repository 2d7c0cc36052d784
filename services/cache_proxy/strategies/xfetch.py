"""XFetch: each reader decides by lot whether to fetch the answer anew before it expires, the likelier the nearer the
expiry and the longer a fetch takes, so that as a rule one of them has done it when the others would have to wait.

    fetch if  now - cost * BETA * ln(rand)  >=  expiry      rand even in (0, 1]; cost = seconds the last fetch took

Example: an answer takes 200 ms to make and is read 500 times a second. 1 s before its expiry a reader fetches with
probability e^-5 = 0.7 %, 0.2 s before it with 37 %. At 500/s the first one does so about 0.2 * ln(500 * 0.2) = 0.9 s
early; while it fetches one or two more draw the lot, and all others are served the old answer, which is still fresh.
With ``ttl`` a hundred readers would have fetched at once.

Trade-off: answers live a little shorter than ``cache.ttl``, and an expiry costs a few fetches, not one. It needs
readers: a key read less than once per ``cost`` seconds simply expires, as with ``ttl``. No locks, nothing shared.
The cost is measured, so an origin that is slowed down by the fetches brings on more of them: keep ``cache.ttl`` at
thirty times the cost or more.
Use instead: a lease when one call must be one call, stale-while-revalidate when readers are few.

As published, whoever draws the lot fetches for himself and waits for it. If that fails he too is served the old answer,
as long as it is fresh. So that it is in time for him, the early fetch gets half of the time he has left: an origin that
hangs lets him wait that long for an answer that was there, and one that takes longer is asked in vain until the expiry.
With ``http.deadline`` off nobody knows what he has left: the fetch then lasts until the origin's client gives up, which
is later than the gateway does.

Units: seconds. Source: Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention (VLDB 2015).
"""

import math
import random
from collections.abc import Callable

from services.cache_proxy.entry import Entry
from services.cache_proxy.strategies.ttl import Ttl
from services.cache_proxy.strategy import Action

# Above 1 fetches sooner, below 1 later; 1 is optimal where the chance of a fetch is exponential in what is left.
BETA = 1.0


class XFetch(Ttl):
    """Fresh or not as ``ttl`` has it, and fetched early by chance; never served at its expiry or later."""

    name = "xfetch"

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance

    def on_read(self, entry: Entry | None, now: float, ttl: float, window: float) -> Action:
        if entry is None:
            return Action.FILL
        left = entry.stored_at + self.freshness(entry, ttl) - now
        if left <= 0:
            return Action.FILL
        early = -entry.cost * BETA * math.log(1.0 - self._chance())
        return Action.FILL_EARLY if early >= left else Action.SERVE

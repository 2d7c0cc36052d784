"""Eviction: which answers Redis gives up first once its memory is full.

    cache.eviction = lru ──► maxmemory-policy volatile-lru    the one not read for the longest time
                     lfu ──► maxmemory-policy volatile-lfu    the one read least often, with a count that decays

Example: memory for 1,000 answers, 500 of them read all the time. A crawler reads 5,000 others once each. Under lru each
of these pushes out what was read longest ago, so the 500 that do not happen to be read in between are gone, and cost
500 misses; under lfu the crawler's answers push out each other.

Trade-off: lfu is slow to learn: what has become popular competes with what once was, until that count has decayed (a
unit a minute). Only keys with an expiry are ever given up (volatile-), so flags and the job stream stay; when nothing
else is left Redis refuses writes. Redis samples 5 keys for each decision, so both are approximations.
Use instead: lru when popularity moves within minutes, lfu when it stays; more memory when the hit share depends on it.

Set with CONFIG SET by one process of the service, which holds a lease for it and looks once a second, so a Redis that
was restarted has it again a second later. A Redis that refuses writes has no room for a lease, and is given more memory
all the same: flags can still be set then. Reset, it is what docker-compose.yml starts Redis with.

Units: seconds, MiB (``cache.maxmemory_mb``). Source: O'Neil, O'Neil, Weikum, The LRU-K Page Replacement Algorithm
(SIGMOD 1993); Redis, "Key eviction".
"""

import secrets
import threading

from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from costlab.service import logs, metrics
from costlab.service.flags import Flags

KEEPER = "cache:eviction:keeper"
LOOK_SECONDS = 1.0
LEASE_MILLISECONDS = 3000
_POLICIES = {"lru": "volatile-lru", "lfu": "volatile-lfu"}


class Eviction:
    """Keeps Redis's own configuration as the flags have it, from a thread of this process."""

    def __init__(self, redis: Redis, flags: Flags) -> None:
        self._redis = redis
        self._flags = flags
        self._token = b""
        self._changed = threading.Event()
        self._stopped = False
        self._complained = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look, once a second and after each change of a flag."""
        self._flags.on_change(self._changed.set)
        # Made here: one made before a fork counts as ended after it.
        self._thread = threading.Thread(target=self._run, name="eviction", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; Redis stays as it is."""
        self._stopped = True
        self._changed.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def keep(self) -> bool:
        """Make Redis what the flags say, unless another process does; whether this is the one that does."""
        if not self._is_keeper():
            return False
        wanted = self._wanted()
        held = self._redis.config_get(*wanted)
        different = {name: value for name, value in wanted.items() if held.get(name) != value}
        if different:
            self._redis.config_set(*[part for setting in different.items() for part in setting])
            logs.get("eviction").info("eviction.set", extra=different)
        metrics.CACHE_EVICTED.set(self._redis.info("stats")["evicted_keys"])
        return True

    def _wanted(self) -> dict[str, str]:
        return {
            "maxmemory-policy": _POLICIES[self._flags["cache.eviction"]],
            "maxmemory": str(self._flags["cache.maxmemory_mb"] * 2**20),
        }

    def _is_keeper(self) -> bool:
        # Drawn only now: processes forked from one another must not take each other for themselves.
        self._token = self._token or secrets.token_bytes(8)
        try:
            if self._redis.set(KEEPER, self._token, nx=True, px=LEASE_MILLISECONDS):
                return True
        except OutOfMemoryError:
            # Only CONFIG SET can end this, and it takes no memory. Each process does it then, and all set the same.
            return True
        # Should the lease pass to another process between these two, both set the same.
        return self._redis.get(KEEPER) == self._token and bool(self._redis.pexpire(KEEPER, LEASE_MILLISECONDS))

    def _run(self) -> None:
        while not self._stopped:
            self._changed.clear()
            try:
                self.keep()
                self._complained = False
            except RedisError as error:
                if not self._complained:
                    logs.get("eviction").warning("eviction.cannot_be_set", extra={"reason": str(error)})
                self._complained = True
            self._changed.wait(LOOK_SECONDS)

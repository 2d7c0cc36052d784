"""The interface of a caching strategy: decisions over time and state it is given; it never calls Redis or an origin.

    GET ─► looks? ─┬─ no ──► origin, nothing kept
                   └─ yes ─► on_read ─► an Action, which the proxy carries out
                                 └─ unless SERVE: origin ─► lifetime ─► stored

A strategy with another way to answer (wait for somebody's fill, serve stale and fill behind) adds an Action, which the
proxy learns to carry out; what a decision may rest on (age, cost of a fill, chance) is here already.

Units: seconds; ``now`` is Unix time.
"""

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Protocol

from services.cache_proxy.entry import Entry


class Action(Enum):
    """What to do with a GET."""

    SERVE = "serve"  # the stored answer
    FILL = "fill"  # ask the origin
    FILL_EARLY = "fill early"  # the same although the stored answer is fresh
    JOIN = "join"  # ask it once for all callers of this process
    LEASE = "lease"  # ask it once for all callers of all processes
    LEASE_OR_STALE = "lease or stale"  # the same, and who does not ask gets the stored answer
    STALE_AND_REFRESH = "stale and refresh"  # the stored answer, and ask the origin behind it


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long an answer stays ``fresh``, and how long it is kept at all (its hard expiry)."""

    fresh: float
    keep: float


class Strategy(Protocol):
    """One way to cache. ``looks`` is false for a strategy that leaves the cache alone."""

    name: ClassVar[str]
    looks: ClassVar[bool]

    def on_read(self, entry: Entry | None, now: float, ttl: float, window: float) -> Action:
        """What to do when the cache holds ``entry``, under these values of ``cache.ttl`` and ``cache.stale_window``."""
        ...

    def freshness(self, entry: Entry, ttl: float) -> float:
        """Seconds from when it was fetched for which ``entry`` is fresh while ``cache.ttl`` is ``ttl``."""
        ...

    def lifetime(self, ttl: float, window: float, cost: float) -> Lifetime:
        """How long to keep an answer that took the origin ``cost`` seconds."""
        ...


def may_be_stale(entry: Entry | None, now: float, ttl: float, window: float) -> bool:
    """Whether ``entry`` may be served although it is not fresh: before its hard expiry, and before the flags' now."""
    return entry is not None and now - entry.stored_at < min(entry.keep, ttl + window)

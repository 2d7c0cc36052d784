"""Fetching: one call to an origin, and its answer stored if it may be."""

from collections.abc import Callable
from typing import NamedTuple

from costlab.service import problem
from costlab.service.flags import Flags
from costlab.service.http_client import Answer, HttpClient, UpstreamError, UpstreamRefused, UpstreamTimeout
from services.cache_proxy import negative_caching, rules
from services.cache_proxy.cache_store import CacheAway, CacheStore
from services.cache_proxy.entry import Entry
from services.cache_proxy.negative_caching import NOT_FOUND
from services.cache_proxy.rules import Headers
from services.cache_proxy.strategy import Lifetime, Strategy


class Read(NamedTuple):
    """A GET, who can answer it, and what the cache holds: the generation of its path and perhaps an ``entry``."""

    path: str
    target: str
    origin: HttpClient
    strategy: Strategy
    generation: bytes
    entry: Entry | None
    if_none_match: str | None = None


class Fetched(NamedTuple):
    """What the origin answered, and whether it was stored."""

    answer: Answer
    stored: bool


class Fetching:
    """Asks origins and stores what they answer, as a read's strategy and the flags have it."""

    def __init__(self, cache: CacheStore, flags: Flags, clock: Callable[[], float]) -> None:
        self._cache = cache
        self._flags = flags
        self._clock = clock

    def fetch(self, read: Read) -> Fetched:
        """The origin's answer; a Problem when there is none."""
        asked_at = self._clock()
        answer = get(read.origin, read.target, [])
        kept = (200, NOT_FOUND) if self._flags["cache.negative_ttl"] else (200,)
        return Fetched(answer, rules.may_store(answer, kept) and self._store(read, answer, asked_at))

    def _store(self, read: Read, answer: Answer, asked_at: float) -> bool:
        """Whether the answer was stored; a cache that cannot be written costs the client nothing."""
        cost = max(0.0, self._clock() - asked_at)
        lifetime = self._lifetime(read, answer, cost)
        limit = rules.freshness_limit(answer)
        fresh, keep = min(lifetime.fresh, limit), min(lifetime.keep, limit)
        if keep <= cost:
            return False
        headers = rules.returned(answer.headers)
        entry = Entry(read.generation, asked_at, fresh, keep, cost, answer.status, headers, answer.body)
        try:
            self._cache.put(read.path, read.target, entry, keep - cost)
        except CacheAway:
            return False
        return True

    def _lifetime(self, read: Read, answer: Answer, cost: float) -> Lifetime:
        if answer.status == NOT_FOUND:
            return negative_caching.lifetime(self._flags["cache.negative_ttl"])
        return read.strategy.lifetime(self._flags["cache.ttl"], self._flags["cache.stale_window"], cost)


def get(origin: HttpClient, target: str, headers: Headers) -> Answer:
    """The origin's answer, or the problem that says why there is none."""
    try:
        return origin.get(target, headers)
    except UpstreamRefused as error:
        raise problem.Unavailable(f"{error}.", headers={"Retry-After": "1"}) from error
    except UpstreamTimeout as error:
        raise problem.GatewayTimeout(f"{error}.") from error
    except UpstreamError as error:
        raise problem.BadGateway(f"{error}.") from error
    except ValueError as error:
        raise problem.BadRequest(f"This cannot be asked: {error}.") from error

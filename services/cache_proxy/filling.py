"""Filling: what becomes of a GET that the cache cannot simply answer. One method for each Action of a strategy.

Whoever asks for others too does so in the background, so that the call does not end with one caller's deadline.
"""

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from costlab.service import context, metrics, problem
from costlab.service.flags import Flags
from costlab.service.http_client import Answer, HttpClient, UpstreamError, UpstreamRefused, UpstreamTimeout
from services.cache_proxy import replies, rules
from services.cache_proxy.background import Background
from services.cache_proxy.cache_store import CacheAway, CacheStore
from services.cache_proxy.entry import Entry
from services.cache_proxy.replies import Reply
from services.cache_proxy.rules import Headers
from services.cache_proxy.strategies.lease import LEASE_SECONDS, LOOK_AGAIN_SECONDS
from services.cache_proxy.strategies.single_flight import Flights
from services.cache_proxy.strategy import Action, Strategy

# As long as the gateway waits at most, so that a slow origin is as slow through the cache as without it.
ORIGIN_SECONDS = 30.0


class Read(NamedTuple):
    """A GET, who can answer it, and what the cache holds: the generation of its path and perhaps an ``entry``."""

    path: str
    target: str
    origin: HttpClient
    strategy: Strategy
    generation: bytes
    entry: Entry | None
    if_none_match: str | None = None

    def forwarded(self) -> str:
        """Why the origin is asked, for Cache-Status."""
        return "fwd=uri-miss" if self.entry is None else "fwd=stale"


class Fetched(NamedTuple):
    """What the origin answered, and whether it was stored."""

    answer: Answer
    stored: bool


# What a flight brings: an answer of the origin, or one that somebody else has stored in the meantime.
Found = Fetched | Entry


class Filling:
    """Fills the cache from origins and replies with what came of it."""

    def __init__(self, cache: CacheStore, flags: Flags, clock: Callable[[], float], background: Background) -> None:
        self._cache = cache
        self._flags = flags
        self._clock = clock
        self._background = background
        self._flights: Flights[Found] = Flights()
        self._requests = metrics.Children(metrics.CACHE_REQUESTS)
        self._actions: dict[Action, Callable[[Read], Reply]] = {
            Action.FILL: self._fill,
            Action.JOIN: self._join,
            Action.LEASE: self._lease,
            Action.LEASE_OR_STALE: self._lease,
        }

    def carry_out(self, action: Action, read: Read) -> Reply:
        """The reply to ``read`` when its strategy has decided on ``action``."""
        return self._actions[action](read)

    def count(self, outcome: str) -> None:
        """Count a GET under the way it was answered."""
        self._requests[outcome,].inc()
        request = context.current()
        if request is not None and request.span is not None:
            request.span.set_attribute("costlab.cache.outcome", outcome)

    def _fill(self, read: Read) -> Reply:
        self.count("miss")
        return _from_origin(read, self._fetch(read))

    def _join(self, read: Read) -> Reply:
        # Nobody joins a call that was made before the path has changed: its generation is another one.
        flight, first = self._board((read.target, read.generation), partial(self._fetch_unless_stored, read))
        outcome = "miss" if first else "coalesced"
        try:
            found = _landed(flight, read)
            if isinstance(found, Entry):
                outcome = "coalesced"
            return self._reply(read, found, "" if first else "; collapsed")
        finally:
            self.count(outcome)

    def _board(self, key: Hashable, call: Callable[[], Found]) -> tuple[Future[Found], bool]:
        """The flight for ``key``, which begins now unless it is in the air; and whether it began."""
        flight, first = self._flights.board(key)
        if first:
            fly = partial(self._flights.fly, key, call)
            if not self._background.run(fly):
                fly()
        return flight, first

    def _lease(self, read: Read) -> Reply:
        give_up_at = time.monotonic() + _patience()
        waited = False
        while True:
            token, generation, entry = self._cache.lease(read.path, read.target, LEASE_SECONDS)
            action = self._decide(read, entry)
            if entry is not None and action is Action.SERVE:
                return self._stored_meanwhile(read, entry, token)
            if token is not None:
                generation = generation or self._cache.begin(read.path)
                return self._fill_as_holder(read._replace(generation=generation, entry=entry), token)
            if entry is not None and action is Action.LEASE_OR_STALE:
                return self._stale(read, entry)
            if not waited:
                metrics.CACHE_LEASE_WAITS.inc()
                waited = True
            self._wait_for_holder(read, give_up_at)

    def _stored_meanwhile(self, read: Read, entry: Entry, token: bytes | None) -> Reply:
        if token is not None:
            self._release(read, token)
        self.count("coalesced")
        return self._from_cache(read, entry)

    def _fill_as_holder(self, read: Read, token: bytes) -> Reply:
        self.count("miss")
        flight, _ = self._board(token, partial(self._fetch_and_release, read, token))
        return self._reply(read, _landed(flight, read))

    def _fetch_and_release(self, read: Read, token: bytes) -> Fetched:
        try:
            return self._fetch(read)
        finally:
            self._release(read, token)

    def _release(self, read: Read, token: bytes) -> None:
        # A lease that cannot be given back expires by itself.
        with suppress(CacheAway):
            self._cache.release(read.target, token)

    def _wait_for_holder(self, read: Read, give_up_at: float) -> None:
        if time.monotonic() + LOOK_AGAIN_SECONDS >= give_up_at:
            self.count("coalesced")
            raise _out_of_time(read)
        time.sleep(LOOK_AGAIN_SECONDS)

    def _stale(self, read: Read, entry: Entry) -> Reply:
        self.count("hit")
        metrics.CACHE_STALE_SERVED.inc()
        return self._from_cache(read, entry, "; detail=stale")

    def _fetch_unless_stored(self, read: Read) -> Found:
        """Look again first: another flight may have landed between this caller's look and its boarding."""
        try:
            _, entry = self._cache.look_up(read.path, read.target)
        except CacheAway:
            return self._fetch(read)
        return entry if entry is not None and self._decide(read, entry) is Action.SERVE else self._fetch(read)

    def _decide(self, read: Read, entry: Entry | None) -> Action:
        return read.strategy.on_read(entry, self._clock(), self._flags["cache.ttl"], self._flags["cache.stale_window"])

    def _fetch(self, read: Read) -> Fetched:
        asked_at = self._clock()
        answer = get(read.origin, read.target, [])
        return Fetched(answer, rules.may_store(answer) and self._store(read, answer, asked_at))

    def _store(self, read: Read, answer: Answer, asked_at: float) -> bool:
        """Whether the answer was stored; a cache that cannot be written costs the client nothing."""
        cost = max(0.0, self._clock() - asked_at)
        lifetime = read.strategy.lifetime(self._flags["cache.ttl"], self._flags["cache.stale_window"], cost)
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

    def _reply(self, read: Read, found: Found, detail: str = "") -> Reply:
        return self._from_cache(read, found) if isinstance(found, Entry) else _from_origin(read, found, detail)

    def _from_cache(self, read: Read, entry: Entry, detail: str = "") -> Reply:
        fresh = read.strategy.freshness(entry, self._flags["cache.ttl"])
        return replies.stored(entry, entry.age(self._clock()), fresh, read.if_none_match, detail)


def _from_origin(read: Read, fetched: Fetched, detail: str = "") -> Reply:
    answer, stored = fetched
    if stored:
        detail += "; stored"
    elif not rules.may_store(answer):
        detail += f"; fwd-status={answer.status}"
    return replies.fetched(answer, read.forwarded() + detail)


def _landed(flight: Future[Found], read: Read) -> Found:
    """What a flight brought, awaited for as long as this caller can wait."""
    try:
        return flight.result(_patience())
    except TimeoutError as error:
        raise _out_of_time(read) from error


def _out_of_time(read: Read) -> problem.GatewayTimeout:
    return problem.GatewayTimeout(f"{read.origin.upstream} did not answer in the time that was left.")


def _patience() -> float:
    """Seconds this caller can still wait."""
    request = context.current()
    left = None if request is None else request.remaining()
    return ORIGIN_SECONDS if left is None else min(left, ORIGIN_SECONDS)


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

"""Filling: what becomes of a GET that the cache cannot simply answer. One method for each Action of a strategy.

Whoever asks for others too does so in the background, so that the call does not end with one caller's deadline.
"""

import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from costlab.resilience.deadline import nearest
from costlab.service import context, logs, metrics, problem
from costlab.service.flags import Flags
from services.cache_proxy import negative_caching, replies
from services.cache_proxy.background import Background
from services.cache_proxy.cache_store import CacheAway, CacheStore
from services.cache_proxy.entry import Entry
from services.cache_proxy.fetching import Fetched, Fetching, Read
from services.cache_proxy.negative_caching import NOT_FOUND
from services.cache_proxy.replies import Reply
from services.cache_proxy.strategies.lease import LEASE_SECONDS, LOOK_AGAIN_SECONDS
from services.cache_proxy.strategies.single_flight import Flights
from services.cache_proxy.strategy import Action

# As long as the gateway waits at most, so that a slow origin is as slow through the cache as without it.
ORIGIN_SECONDS = 30.0

# What a flight brings: an answer of the origin, or one that somebody else has stored in the meantime.
Found = Fetched | Entry


class Filling:
    """Fills the cache from origins and replies with what came of it."""

    def __init__(self, cache: CacheStore, flags: Flags, clock: Callable[[], float], background: Background) -> None:
        self._cache = cache
        self._flags = flags
        self._clock = clock
        self._background = background
        self._fetching = Fetching(cache, flags, clock)
        self._flights: Flights[Found] = Flights()
        self._refreshing: dict[str, object] = {}
        self._requests = metrics.Children(metrics.CACHE_REQUESTS)
        self._actions: dict[Action, Callable[[Read], Reply]] = {
            Action.FILL: self._fill,
            Action.FILL_EARLY: self._fill_early,
            Action.JOIN: self._join,
            Action.LEASE: self._lease,
            Action.LEASE_OR_STALE: self._lease,
            Action.STALE_AND_REFRESH: self._refresh,
        }

    def carry_out(self, action: Action, read: Read) -> Reply:
        """The reply to ``read`` when its strategy has decided on ``action``; CacheAway before any origin is asked."""
        return self._actions[action](read)

    def negative(self, entry: Entry) -> Reply:
        """The reply out of a stored 404."""
        metrics.CACHE_NEGATIVE_HITS.inc()
        fresh = negative_caching.freshness(entry, self._flags["cache.negative_ttl"])
        return replies.stored(
            entry._replace(body=negative_caching.body(entry.body)),
            entry.age(self._clock()),
            fresh,
            detail="; detail=negative",
        )

    def count(self, outcome: str) -> None:
        """Count a GET under the way it was answered."""
        self._requests[outcome,].inc()
        context.note("costlab.cache.outcome", outcome)

    # On the caller's own thread

    def _fill(self, read: Read) -> Reply:
        self.count("miss")
        return _from_origin(read, self._fetching.fetch(read))

    def _fill_early(self, read: Read) -> Reply:
        """As long as the stored answer is fresh an origin that fails harms nobody; one that hangs costs time."""
        self.count("miss")
        metrics.CACHE_EARLY_RECOMPUTATIONS.inc()
        try:
            with self._half_the_time():
                fetched = self._fetching.fetch(read)
        except problem.Problem:
            entry = self._still_fresh(read)
            if entry is None:
                raise
            return self._from_cache(read, entry)
        entry = self._still_fresh(read) if fetched.answer.status >= 500 else None
        return _from_origin(read, fetched, "; detail=early") if entry is None else self._from_cache(read, entry)

    @contextmanager
    def _half_the_time(self) -> Iterator[None]:
        """Calls in the block end when half of what this caller waits is over, so that another answer is in time."""
        request = context.current()
        now = time.monotonic()
        context.enter(request and replace(request, deadline=now + (self._give_up_at() - now) / 2))
        try:
            yield
        finally:
            context.enter(request)

    def _still_fresh(self, read: Read) -> Entry | None:
        """The stored answer if it is fresh now; looked up again, because its path may have changed in the meantime."""
        try:
            _, entry = self._cache.look_up(read.path, read.target)
        except CacheAway:
            return None
        if entry is None or entry.status == NOT_FOUND:
            return None
        fresh = read.strategy.freshness(entry, self._flags["cache.ttl"])
        return entry if self._clock() - entry.stored_at < fresh else None

    # Once for all callers of this process

    def _join(self, read: Read) -> Reply:
        # Nobody joins a call that was made before the path has changed: its generation is another one.
        flight, first = self._board((read.target, read.generation), partial(self._fetch_unless_stored, read))
        outcome = "miss" if first else "coalesced"
        try:
            found = self._landed(flight, read)
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

    def _fetch_unless_stored(self, read: Read) -> Found:
        """Look again first: another flight may have landed between this caller's look and its boarding."""
        try:
            _, entry = self._cache.look_up(read.path, read.target)
        except CacheAway:
            return self._fetching.fetch(read)
        serve = entry is not None and self._decide(read, entry) is Action.SERVE
        return entry if entry is not None and serve else self._fetching.fetch(read)

    # Once for all callers of all processes

    def _lease(self, read: Read) -> Reply:
        give_up_at = self._give_up_at()
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
        return self._reply(read, self._landed(flight, read))

    def _fetch_and_release(self, read: Read, token: bytes) -> Fetched:
        try:
            return self._fetching.fetch(read)
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

    # Behind the stale answer

    def _refresh(self, read: Read) -> Reply:
        mine = object()
        if self._refreshing.setdefault(read.target, mine) is mine and not self._background.run(
            partial(self._revalidate, read)
        ):
            del self._refreshing[read.target]
        return self._stale(read, read.entry)

    def _revalidate(self, read: Read) -> None:
        try:
            token, _, entry = self._cache.lease(read.path, read.target, LEASE_SECONDS)
            if token is not None and self._decide(read, entry) is Action.SERVE:
                self._release(read, token)
            elif token is not None:
                metrics.CACHE_REFRESHES.inc()
                self._fetch_and_release(read, token)
        except (CacheAway, problem.Problem) as error:
            logs.get("cache").warning("refresh.failed", extra={"target": read.target, "reason": str(error)})
        finally:
            del self._refreshing[read.target]

    # For how long

    def _landed(self, flight: Future[Found], read: Read) -> Found:
        """What a flight brought, awaited for as long as this caller waits."""
        try:
            return flight.result(self._give_up_at() - time.monotonic())
        except TimeoutError as error:
            raise _out_of_time(read) from error

    def _give_up_at(self) -> float:
        """When this caller stops waiting for somebody else's call, as it would for its own."""
        request = context.current()
        bound = None if request is None or self._flags["http.deadline"] == "off" else request.deadline
        return nearest(time.monotonic(), ORIGIN_SECONDS, bound)

    # Replies

    def _decide(self, read: Read, entry: Entry | None) -> Action:
        now = self._clock()
        if entry is not None and entry.status == NOT_FOUND:
            if negative_caching.is_fresh(entry, now, self._flags["cache.negative_ttl"]):
                return Action.SERVE
            entry = None
        return read.strategy.on_read(entry, now, self._flags["cache.ttl"], self._flags["cache.stale_window"])

    def _stale(self, read: Read, entry: Entry) -> Reply:
        self.count("hit")
        metrics.CACHE_STALE_SERVED.inc()
        return self._from_cache(read, entry, "; detail=stale")

    def _reply(self, read: Read, found: Found, detail: str = "") -> Reply:
        return self._from_cache(read, found) if isinstance(found, Entry) else _from_origin(read, found, detail)

    def _from_cache(self, read: Read, entry: Entry, detail: str = "") -> Reply:
        if entry.status == NOT_FOUND:
            return self.negative(entry)
        fresh = read.strategy.freshness(entry, self._flags["cache.ttl"])
        return replies.stored(entry, entry.age(self._clock()), fresh, read.if_none_match, detail)


def _from_origin(read: Read, fetched: Fetched, detail: str = "") -> Reply:
    answer, stored = fetched
    if answer.status != 200:
        detail += f"; fwd-status={answer.status}"
    if stored:
        detail += "; stored"
    return replies.fetched(answer, f"fwd={'uri-miss' if read.entry is None else 'stale'}{detail}")


def _out_of_time(read: Read) -> problem.GatewayTimeout:
    return problem.GatewayTimeout(f"{read.origin.upstream} did not answer in the time that was left.")

"""The proxy: plain WSGI in front of Flask, because a hit has to cost less than what it saves.

route ─► may it be cached? ─► look up ─┬─ fresh ──► the stored answer
             │ no          Redis away  └─ other Actions of the strategy ──► filling.py
             └────────────────┴──► origin
"""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from costlab.service import context, logs, problem
from costlab.service.context import ROUTE
from costlab.service.flags import Flags
from costlab.service.http_client import HttpClient
from services.cache_proxy import fetching, negative_caching, replies, routes, rules
from services.cache_proxy.cache_store import CacheAway, CacheStore
from services.cache_proxy.fetching import Read
from services.cache_proxy.filling import Filling
from services.cache_proxy.negative_caching import NOT_FOUND
from services.cache_proxy.replies import Reply
from services.cache_proxy.strategies import STRATEGIES
from services.cache_proxy.strategy import Action, Strategy

_METHODS = frozenset({"GET", "HEAD"})
_BODILESS = frozenset({204, 304})
_STATUS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Proxy:
    """Answers GET and HEAD of the route table from ``cache`` or ``origins``; ``rest`` serves every other path."""

    def __init__(
        self,
        rest: WSGIApplication,
        origins: Mapping[str, HttpClient],
        cache: CacheStore,
        filling: Filling,
        flags: Flags,
        clock: Callable[[], float],
    ) -> None:
        self._rest = rest
        self._origins = dict(origins)
        self._cache = cache
        self._filling = filling
        self._flags = flags
        self._clock = clock

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = _path(environ)
        route = routes.match(path)
        if route is None:
            return self._rest(environ, start_response)
        environ[ROUTE] = route.label
        try:
            status, headers, body = self._answer(environ, path, self._origins[route.origin])
        except problem.Problem as refused:
            status, headers, body = replies.refused(refused)
        except Exception:  # noqa: BLE001 - a bug is logged, and answered like every other error
            logs.get("proxy").exception("request.failed")
            status, headers, body = replies.refused(_Bug(problem.UNEXPECTED))
        if status not in _BODILESS:
            headers.append(("Content-Length", str(len(body))))
        start_response(_STATUS.get(status) or f"{status} Unknown", headers)
        return () if environ["REQUEST_METHOD"] == "HEAD" else (body,)

    def _answer(self, environ: WSGIEnvironment, path: str, origin: HttpClient) -> Reply:
        if environ["REQUEST_METHOD"] not in _METHODS:
            raise problem.MethodNotAllowed("The cache-proxy answers GET and HEAD.", headers={"Allow": "GET, HEAD"})
        path, target = routes.target(path, environ["QUERY_STRING"])
        strategy = STRATEGIES[self._flags["cache.strategy"]]
        if not strategy.looks or not rules.may_look(environ) or _faulty():
            return self._pass_through("bypass", environ, target, origin, "fwd=bypass")
        try:
            return self._read_through(environ, path, target, origin, strategy)
        except CacheAway:
            return self._pass_through("error", environ, target, origin, "fwd=bypass; detail=redis-away")

    def _pass_through(
        self, outcome: str, environ: WSGIEnvironment, target: str, origin: HttpClient, cache_status: str
    ) -> Reply:
        self._filling.count(outcome)
        return replies.fetched(fetching.get(origin, target, rules.handed_on(environ)), cache_status)

    def _read_through(
        self, environ: WSGIEnvironment, path: str, target: str, origin: HttpClient, strategy: Strategy
    ) -> Reply:
        """The stored answer, or what comes of filling; CacheAway only as long as no origin was asked."""
        generation, entry = self._cache.look_up(path, target)
        now, ttl = self._clock(), self._flags["cache.ttl"]
        if entry is not None and entry.status == NOT_FOUND:
            if negative_caching.is_fresh(entry, now, self._flags["cache.negative_ttl"]):
                self._filling.count("hit")
                return self._filling.negative(entry)
            entry = None
        action = strategy.on_read(entry, now, ttl, self._flags["cache.stale_window"])
        if_none_match = environ.get("HTTP_IF_NONE_MATCH")
        if action is Action.SERVE and entry is not None:
            self._filling.count("hit")
            return replies.stored(entry, entry.age(now), strategy.freshness(entry, ttl), if_none_match)
        generation = generation or self._cache.begin(path)
        return self._filling.carry_out(action, Read(path, target, origin, strategy, generation, entry, if_none_match))


class _Bug(problem.Problem):
    """An exception nobody expected."""


def _faulty() -> bool:
    """Whether an origin shall make a fault for this request: what comes of that is nobody else's, nor stored."""
    request = context.current()
    return request is not None and bool(request.fault)


def _path(environ: WSGIEnvironment) -> str:
    """The path as it came in, undecoded."""
    raw = environ["RAW_URI"]
    if not raw.startswith("/"):  # absolute-form, as a client behind a forward proxy writes it
        raw = urlsplit(raw).path
    return raw.partition("?")[0]

"""The proxy: plain WSGI in front of Flask, because a hit has to cost less than what it saves.

    route ─► may it be cached? ─► look up ─┬─ fresh ──► the stored answer
                 │ no          Redis away  └─ FILL ───► generation ─► origin ─► store
                 └────────────────┴──► origin

Cache-Status (RFC 9211) tells which way an answer took, Age (RFC 9111) how old it is.
"""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from costlab.service import context, logs, metrics, problem
from costlab.service.door import ROUTE
from costlab.service.flags import Flags
from costlab.service.http_client import Answer, HttpClient, UpstreamError, UpstreamRefused, UpstreamTimeout
from services.cache_proxy import routes, rules
from services.cache_proxy.cache_store import CacheAway, CacheStore
from services.cache_proxy.entry import Entry
from services.cache_proxy.rules import Headers
from services.cache_proxy.strategies import STRATEGIES
from services.cache_proxy.strategy import Action, Strategy

_METHODS = frozenset({"GET", "HEAD"})
_BODILESS = frozenset({204, 304})
_STATUS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}

Reply = tuple[int, Headers, bytes]


class Proxy:
    """Answers GET and HEAD of the route table from ``cache`` or ``origins``; ``rest`` serves every other path."""

    def __init__(
        self,
        rest: WSGIApplication,
        origins: Mapping[str, HttpClient],
        cache: CacheStore,
        flags: Flags,
        clock: Callable[[], float],
    ) -> None:
        self._rest = rest
        self._origins = dict(origins)
        self._cache = cache
        self._flags = flags
        self._clock = clock
        self._requests = metrics.Children(metrics.CACHE_REQUESTS)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = _path(environ)
        route = routes.match(path)
        if route is None:
            return self._rest(environ, start_response)
        environ[ROUTE] = route.label
        try:
            status, headers, body = self._answer(environ, path, self._origins[route.origin])
        except problem.Problem as refused:
            status, headers, body = _document(refused)
        except Exception:  # noqa: BLE001 - a bug is logged, and answered like every other error
            logs.get("proxy").exception("request.failed")
            status, headers, body = _document(_Bug(problem.UNEXPECTED))
        if status not in _BODILESS:
            headers.append(("Content-Length", str(len(body))))
        start_response(_STATUS.get(status) or f"{status} Unknown", headers)
        return () if environ["REQUEST_METHOD"] == "HEAD" else (body,)

    def _answer(self, environ: WSGIEnvironment, path: str, origin: HttpClient) -> Reply:
        if environ["REQUEST_METHOD"] not in _METHODS:
            raise problem.MethodNotAllowed("The cache-proxy answers GET and HEAD.", headers={"Allow": "GET, HEAD"})
        path, target = routes.target(path, environ["QUERY_STRING"])
        strategy = STRATEGIES[self._flags["cache.strategy"]]
        if strategy.looks and rules.may_look(environ):
            return self._read_through(environ, path, target, origin, strategy)
        self._count("bypass")
        return _reply(_get(origin, target, rules.handed_on(environ)), "costlab; fwd=bypass")

    def _read_through(
        self, environ: WSGIEnvironment, path: str, target: str, origin: HttpClient, strategy: Strategy
    ) -> Reply:
        try:
            generation, entry = self._cache.look_up(path, target)
            now, ttl = self._clock(), self._flags["cache.ttl"]
            if strategy.on_read(entry, now, ttl) is Action.SERVE and entry is not None:
                self._count("hit")
                return _hit(entry, now, strategy.freshness(entry, ttl), environ.get("HTTP_IF_NONE_MATCH"))
            generation = generation or self._cache.begin(path)
        except CacheAway:
            self._count("error")
            return _reply(_get(origin, target, rules.handed_on(environ)), "costlab; fwd=bypass; detail=redis-away")
        self._count("miss")
        forwarded = "costlab; fwd=uri-miss" if entry is None else "costlab; fwd=stale"
        asked_at = self._clock()
        answer = _get(origin, target, [])
        if rules.may_store(answer):
            stored = self._store(path, target, answer, generation, asked_at, strategy)
            return _reply(answer, f"{forwarded}; stored" if stored else forwarded)
        return _reply(answer, f"{forwarded}; fwd-status={answer.status}")

    def _store(
        self, path: str, target: str, answer: Answer, generation: bytes, asked_at: float, strategy: Strategy
    ) -> bool:
        """Whether the answer was stored; a cache that cannot be written costs the client nothing."""
        cost = max(0.0, self._clock() - asked_at)
        lifetime = strategy.lifetime(self._flags["cache.ttl"], cost)
        limit = rules.freshness_limit(answer)
        fresh, keep = min(lifetime.fresh, limit), min(lifetime.keep, limit) - cost
        if keep <= 0:
            return False
        entry = Entry(generation, asked_at, fresh, cost, rules.returned(answer.headers), answer.body)
        try:
            self._cache.put(path, target, entry, keep)
        except CacheAway:
            return False
        return True

    def _count(self, outcome: str) -> None:
        self._requests[outcome,].inc()
        request = context.current()
        if request is not None and request.span is not None:
            request.span.set_attribute("costlab.cache.outcome", outcome)


class _Bug(problem.Problem):
    """An exception nobody expected."""


def _path(environ: WSGIEnvironment) -> str:
    """The path as it came in, undecoded."""
    raw = environ["RAW_URI"]
    if not raw.startswith("/"):  # absolute-form, as a client behind a forward proxy writes it
        raw = urlsplit(raw).path
    return raw.partition("?")[0]


def _get(origin: HttpClient, target: str, headers: Headers) -> Answer:
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


def _hit(entry: Entry, now: float, fresh: float, if_none_match: str | None) -> Reply:
    age = entry.age(now)
    headers = [
        *entry.headers,
        ("Age", str(int(age))),
        ("Cache-Status", f"costlab; hit; ttl={int(fresh - age)}"),
    ]
    if if_none_match is not None and rules.matches(_etag(entry.headers), if_none_match):
        return 304, [(name, value) for name, value in headers if name != "content-type"], b""
    return 200, headers, entry.body


def _etag(headers: Headers) -> str:
    return next((value for name, value in headers if name == "etag"), "")


def _reply(answer: Answer, cache_status: str) -> Reply:
    return answer.status, [*rules.returned(answer.headers), ("Cache-Status", cache_status)], answer.body


def _document(refused: problem.Problem) -> Reply:
    headers: list[tuple[str, Any]] = [*refused.headers.items(), ("Content-Type", problem.MEDIA_TYPE)]
    return refused.status, headers, problem.body(refused.status, refused.detail, refused.extras)

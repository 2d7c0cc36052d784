"""The proxy: plain WSGI in front of Flask, because Flask's routing and its request and response objects cost more
than everything done here (docs/decisions.md).

    who is it ─► over its rate? ─► a route? ─► by when ─► its body ──► room? ─► upstream ─► answer
    401          429, 503          404, 405    400        400, 408, 413  503    502, 503, 504
"""

import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from costlab.resilience.circuit_breaker import OPEN_SECONDS
from costlab.service import context, logs, problem
from costlab.service.context import ROUTE
from costlab.service.flags import Flags
from costlab.service.http_client import Answer, HttpClient, UpstreamError, UpstreamRefused, UpstreamTimeout
from gateway import compress, headers, request_body, routes
from gateway.api_keys import ApiKeys
from gateway.hedge import SAFE, Hedger
from gateway.rate_limit.limiter import RateLimiter
from gateway.shed.shedder import Shedder

DEFAULT_SECONDS = 10.0
LONGEST_SECONDS = 30.0
CACHE_PROXY = "cache-proxy"
_STATUS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_BODILESS = frozenset({204, 304})
_UNDER_API = f"{routes.PREFIX}/"

Response = tuple[str, list[tuple[str, str]], bytes]


class Proxy:
    """Answers what lies under ``/api/`` from ``upstreams`` (by name); ``rest`` serves everything else."""

    def __init__(
        self,
        rest: WSGIApplication,
        upstreams: Mapping[str, HttpClient],
        keys: ApiKeys,
        limiter: RateLimiter,
        flags: Flags,
    ) -> None:
        self._rest = rest
        self._upstreams = dict(upstreams)
        self._keys = keys
        self._limiter = limiter
        self._flags = flags
        self._shedder = Shedder(flags)
        self._hedger = Hedger(flags)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = _path(environ)
        if not path.startswith(_UNDER_API):
            return self._rest(environ, start_response)
        limits: headers.Headers = []  # told with every answer to a request that was counted
        try:
            status, headers_, body = self._answer(environ, path, limits)
        except problem.Problem as refused:
            given = [*limits, *refused.headers.items()]
            status, headers_, body = _document(refused.status, refused.detail, given, refused.extras)
        except Exception:  # noqa: BLE001 - a bug is logged, and answered like every other error
            logs.get("proxy").exception("request.failed")
            status, headers_, body = _document(500, problem.UNEXPECTED, limits, {})
        start_response(status, headers_)
        return (body,)

    def _answer(self, environ: WSGIEnvironment, path: str, limits: headers.Headers) -> Response:
        """The answer; ``limits`` gets the headers about the client's rate as soon as they are known."""
        route = routes.match(path)
        if route is not None:
            environ[ROUTE] = route.label
        client = context.current().client = self._keys.client(environ.get("HTTP_X_API_KEY", ""))
        limits += self._admit(client, route)
        method = environ["REQUEST_METHOD"]
        route = _allowed(route, method)
        _set_deadline(environ)
        upstream = self._upstream(route, method)
        query = environ["QUERY_STRING"]
        target = path[len(routes.PREFIX) :]
        answer = self._call(
            upstream,
            method,
            f"{target}?{query}" if query else target,
            headers.outgoing(environ, client),
            request_body.read(environ),
        )
        return self._compressed(environ, _response(answer, method, limits))

    def _admit(self, client: str, route: routes.Route | None) -> headers.Headers:
        """The headers that tell the client its limits; TooManyRequests when it is over them."""
        limited = self._limiter.decide(client, route.label if route else "")
        if limited is None:
            return []
        written = limited.headers()
        if not limited.decision.admitted:
            raise problem.TooManyRequests(
                f"Client {client} is over its rate of {limited.quota.rate:g} requests per second.",
                headers=dict(written),
            )
        return written

    def _compressed(self, environ: WSGIEnvironment, response: Response) -> Response:
        coding = self._flags["gateway.compress"]
        if coding == "off":
            return response
        status, written, body = response
        accept = environ.get("HTTP_ACCEPT_ENCODING", "")
        if environ["REQUEST_METHOD"] == "HEAD" and int(status[:3]) not in _BODILESS:
            return status, compress.without_body(coding, accept, written), body
        return status, *compress.compressed(coding, accept, written, body)

    def _call(self, *request: Any) -> Answer:
        policy = self._flags["gateway.shed"]
        return self._hedged(*request) if policy == "off" else self._shedder.run(policy, lambda: self._hedged(*request))

    def _hedged(self, client: HttpClient, method: str, *rest: Any) -> Answer:
        kind = self._flags["gateway.hedge"]
        if kind == "off" or method not in SAFE:
            return _call(client, method, *rest)
        return self._hedger.run(kind, client.upstream, lambda: _call(client, method, *rest))

    def _upstream(self, route: routes.Route, method: str) -> HttpClient:
        cached = method == "GET" and self._flags["gateway.reads"] == "cache_proxy"
        return self._upstreams[CACHE_PROXY if cached else route.upstream]


def _path(environ: WSGIEnvironment) -> str:
    """The path as the client wrote it, undecoded."""
    raw = environ["RAW_URI"]
    if not raw.startswith("/"):  # absolute-form, as a client behind a forward proxy writes it
        raw = urlsplit(raw).path
    return raw.partition("?")[0]


def _allowed(route: routes.Route | None, method: str) -> routes.Route:
    if route is None:
        raise problem.NotFound("The API has no such path; /openapi.json lists those it has.")
    if method not in route.methods:
        raise problem.MethodNotAllowed(
            f"{route.label} answers {problem.join(route.methods)}.", headers={"Allow": ", ".join(route.methods)}
        )
    return route


def _set_deadline(environ: WSGIEnvironment) -> None:
    """Give the request a deadline: the client's, at most LONGEST_SECONDS from now, or DEFAULT_SECONDS."""
    request = context.current()
    now = time.monotonic()
    if request.deadline is not None:
        request.deadline = min(request.deadline, now + LONGEST_SECONDS)
    elif "HTTP_X_REQUEST_TIMEOUT_MS" in environ:
        raise problem.BadRequest(f"{context.TIMEOUT} is a whole number of milliseconds.")
    else:
        request.deadline = now + DEFAULT_SECONDS


def _call(client: HttpClient, method: str, target: str, sent: headers.Headers, body: bytes) -> Answer:
    try:
        return client.request(method, target, sent, body)
    except UpstreamRefused as error:
        raise problem.Unavailable(f"{error}.", headers={"Retry-After": f"{OPEN_SECONDS:.0f}"}) from error
    except UpstreamTimeout as error:
        raise problem.GatewayTimeout(f"{error}.") from error
    except UpstreamError as error:
        raise problem.BadGateway(f"{error}.") from error


def _response(answer: Answer, method: str, limits: headers.Headers) -> Response:
    written = headers.returned(answer.headers, routes.PREFIX)
    written += limits
    if method == "HEAD":
        length = answer.header("content-length")
    else:
        length = "" if answer.status in _BODILESS else str(len(answer.body))
    if length:
        written.append(("Content-Length", length))
    return _STATUS.get(answer.status) or f"{answer.status} Unknown", written, answer.body


def _document(status: int, detail: str, given: headers.Headers, extras: Mapping[str, Any]) -> Response:
    body = problem.body(status, detail, extras)
    described = [("Content-Type", problem.MEDIA_TYPE), ("Content-Length", str(len(body)))]
    return _STATUS[status], [*given, *described], body

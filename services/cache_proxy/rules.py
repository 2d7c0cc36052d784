"""What HTTP allows a shared cache to do with a request and with an answer (RFC 9111).

Stored: an answer 200 to a GET without Authorization, and a 404 if ``cache.negative_ttl`` says so, unless the origin
says no-store, private, no-cache or Vary, or sets a cookie. The origin's s-maxage or max-age, less the Age it came with,
can shorten the time it is kept, never stretch it.
A client's own Cache-Control is advice (5.2.1) and is not taken: nobody can push their way through to the origin.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from costlab.service.http_client import Answer

Headers = list[tuple[str, str]]

MAX_STORED_BYTES = 1024 * 1024
_FORBIDS = ("no-store", "private", "no-cache")
_MAX_AGE = {name: re.compile(rf'(?:^|[\s,]){name}\s*=\s*"?(\d{{1,10}})') for name in ("s-maxage", "max-age")}
# These belong to one connection, or are written anew: by gunicorn, by the door, by the proxy.
_NOT_RETURNED = frozenset(
    {
        "age",
        "cache-status",
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    }
)
# An answer that a fault has met is for whoever asked for the fault.
_INJECTED = "x-costlab-fault"
# What a client may say to the origin when the cache stays out of it.
_HANDED_ON = {
    "HTTP_ACCEPT": "accept",
    "HTTP_AUTHORIZATION": "authorization",
    "HTTP_IF_MODIFIED_SINCE": "if-modified-since",
    "HTTP_IF_NONE_MATCH": "if-none-match",
}


def may_look(environ: Mapping[str, Any]) -> bool:
    """Whether the request may be answered from a cache shared by everybody."""
    return "HTTP_AUTHORIZATION" not in environ


def handed_on(environ: Mapping[str, Any]) -> Headers:
    """The client's headers for an origin whose answer is for this client alone."""
    return [(name, environ[key]) for key, name in _HANDED_ON.items() if key in environ]


def returned(headers: Headers) -> Headers:
    """An origin's headers without those that are written anew."""
    return [(name, value) for name, value in headers if name not in _NOT_RETURNED]


def may_store(answer: Answer, statuses: Collection[int] = (200,)) -> bool:
    """Whether ``answer`` may be given to others later, if its status is one of ``statuses``."""
    if answer.status not in statuses or len(answer.body) > MAX_STORED_BYTES:
        return False
    named = {name for name, _ in answer.headers}
    if "vary" in named or "set-cookie" in named or _INJECTED in named:
        return False
    directives = answer.header("cache-control").lower()
    return not any(word in directives for word in _FORBIDS)


def freshness_limit(answer: Answer) -> float:
    """Seconds the origin itself lets its answer stay fresh; infinite when it does not say."""
    directives = answer.header("cache-control").lower()
    for pattern in _MAX_AGE.values():
        if found := pattern.search(directives):
            age = answer.header("age")
            return float(found[1]) - (float(age) if age.isascii() and age.isdigit() else 0.0)
    return float("inf")


def matches(etag: str, if_none_match: str) -> bool:
    """Whether the client holds this answer already (RFC 9110, 13.1.2: weak comparison)."""
    if not etag:
        return False
    given = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return if_none_match.strip() == "*" or etag.removeprefix("W/") in given

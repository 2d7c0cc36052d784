"""Header hygiene at the public door: what belongs to one hop stays on it (RFC 9110, 7.6.1), and what the system
tells itself cannot be said from outside.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

_HOP_BY_HOP = {
    "connection",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
# Written anew by the gateway or by the HTTP client: identity, deadline, trace, framing, forwarding. A Forwarded
# header that came in is dropped rather than kept beside an X-Forwarded-For it would contradict.
_OURS = {
    "content-length",
    "forwarded",
    "host",
    "traceparent",
    "via",
    "x-api-key",
    "x-client",
    "x-costlab-fault",
    "x-costlab-fault-signature",
    "x-costlab-token",
    "x-forwarded-for",
    "x-no-retry",
    "x-request-id",
    "x-request-timeout-ms",
}
# gunicorn writes Date and Server, the door the request id, the proxy the length.
_ANSWERED = _HOP_BY_HOP | {"content-length", "date", "server", "x-request-id"}
_NOT_SENT = frozenset(f"HTTP_{name.upper().replace('-', '_')}" for name in _HOP_BY_HOP | _OURS)
_PLAIN_CONNECTION = frozenset({"", "keep-alive", "close"})
VIA = "1.1 costlab"

Headers = list[tuple[str, str]]


def outgoing(environ: Mapping[str, Any], client: str) -> Headers:
    """The headers of the request to the upstream."""
    sent = [(_name(key), value) for key, value in environ.items() if key.startswith("HTTP_") and key not in _NOT_SENT]
    if environ.get("CONTENT_TYPE"):
        sent.append(("Content-Type", environ["CONTENT_TYPE"]))
    named = _named(environ.get("HTTP_CONNECTION", ""))
    if named:
        sent = [(name, value) for name, value in sent if name.lower() not in named]
    peer, before = environ.get("REMOTE_ADDR", "unknown"), environ.get("HTTP_X_FORWARDED_FOR")
    via = environ.get("HTTP_VIA")
    sent += [
        ("X-Client", client),
        ("X-Forwarded-For", f"{before}, {peer}" if before else peer),
        ("Via", f"{via}, {VIA}" if via else VIA),
    ]
    return sent


def returned(headers: Iterable[tuple[str, str]], prefix: str) -> Headers:
    """The headers of the answer to the client. Paths in Location get ``prefix``, under which the client knows them."""
    kept, named = [], frozenset()
    for name, value in headers:
        if name == "connection":
            named = _named(value)
        if name not in _ANSWERED:
            kept.append((name, prefix + value if name == "location" and value.startswith("/") else value))
    return [(name, value) for name, value in kept if name not in named] if named else kept


@lru_cache(maxsize=256)
def _name(key: str) -> str:
    """The header of a WSGI key; the same few come with every request."""
    return key[5:].replace("_", "-")


def _named(connection: str) -> frozenset[str]:
    """The headers a Connection header names as belonging to this hop."""
    lower = connection.lower()
    if lower in _PLAIN_CONNECTION:
        return frozenset()
    return frozenset(token.strip() for token in lower.split(","))

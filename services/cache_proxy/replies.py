"""What the proxy replies: status, headers, body.

Cache-Status (RFC 9211) tells which way an answer took, Age (RFC 9111) how old it is. Each reply has a list of headers
of its own, which may be added to.
"""

import math
from typing import Any

from costlab.service import problem
from costlab.service.http_client import Answer
from services.cache_proxy import rules
from services.cache_proxy.entry import Entry
from services.cache_proxy.rules import Headers

Reply = tuple[int, Headers, bytes]


def stored(entry: Entry, age: float, fresh: float, if_none_match: str | None = None, detail: str = "") -> Reply:
    """An answer from the cache, fresh for ``fresh`` seconds from when it was fetched; 304 to whoever has it already."""
    headers = [
        *entry.headers,
        ("Age", str(int(age))),
        ("Cache-Status", f"costlab; hit; ttl={math.floor(fresh - age)}{detail}"),
    ]
    if if_none_match is not None and rules.matches(_etag(entry.headers), if_none_match):
        return 304, [(name, value) for name, value in headers if name != "content-type"], b""
    return entry.status, headers, entry.body


def fetched(answer: Answer, cache_status: str) -> Reply:
    """An answer of an origin."""
    return answer.status, [*rules.returned(answer.headers), ("Cache-Status", f"costlab; {cache_status}")], answer.body


def refused(reason: problem.Problem) -> Reply:
    """A problem document of the proxy's own."""
    headers: list[tuple[str, Any]] = [*reason.headers.items(), ("Content-Type", problem.MEDIA_TYPE)]
    return reason.status, headers, problem.body(reason.status, reason.detail, reason.extras)


def _etag(headers: Headers) -> str:
    return next((value for name, value in headers if name == "etag"), "")

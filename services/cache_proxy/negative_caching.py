"""Negative caching: that there is no such thing is an answer too, and is kept for ``cache.negative_ttl`` seconds.

Example: a crawler asks 50 times a second for a product that was taken out of the catalogue. Each of these is a query
that finds nothing; with ``cache.negative_ttl`` at 5 s it is one in five seconds. When the thing comes into being its
path is invalidated like any other, and the next reader finds it.

Trade-off: where the message of the change is lost, something new stays invisible until the time is over; so it is kept
shorter than what exists, and by whichever ``cache.strategy`` only while it is fresh. A client that makes up ids fills
the cache with what is not there.
Use instead: a Bloom filter of what exists, when most questions are about what does not.

Units: seconds; 0 keeps nothing. Source: RFC 2308, 5 (the negative answers of DNS); RFC 9110, 15.5.5 (404).
"""

import orjson

from costlab.service import context
from services.cache_proxy.entry import Entry
from services.cache_proxy.strategy import Lifetime

NOT_FOUND = 404


def is_fresh(entry: Entry, now: float, negative_ttl: float) -> bool:
    """Whether a stored 404 may be served; a lowered flag acts at once."""
    return now - entry.stored_at < freshness(entry, negative_ttl)


def freshness(entry: Entry, negative_ttl: float) -> float:
    """Seconds from when it was fetched for which a stored 404 is fresh."""
    return min(entry.fresh, negative_ttl)


def lifetime(negative_ttl: float) -> Lifetime:
    """How long to keep a 404, whatever the strategy."""
    return Lifetime(fresh=negative_ttl, keep=negative_ttl)


def body(stored: bytes) -> bytes:
    """A stored problem document for whoever asks now: it names a request, and must not name somebody else's."""
    request = context.current()
    try:
        document = orjson.loads(stored)
    except orjson.JSONDecodeError:
        return stored
    if request is None or not isinstance(document, dict) or "request_id" not in document:
        return stored
    return orjson.dumps(document | {"request_id": request.request_id})

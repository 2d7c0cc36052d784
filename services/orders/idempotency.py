"""Idempotency key: a client that got no answer asks again under the same key and gets the order it already placed.

Example: a POST times out after the order was committed. Sent again with the same ``Idempotency-Key``, it is
answered 201 with the first order and ``Idempotency-Replayed: true``; without a key there would be two orders.

Trade-off: one more row and look-up for each order. The key's unique constraint in PostgreSQL makes two requests at
once into one order: the second waits for the first to commit, then replays it. Keys are kept as long as their orders.
With the flag ``orders.idempotency`` off a key is read, counted as ignored, and forgotten: each request is an order, and
the HTTP client sends none again because of a key.
Use instead: PUT to an id chosen by the client, where it may choose ids.

Errors: BadRequest for a malformed key, Invalid for a key that came with another body before.
Source: IETF draft-ietf-httpapi-idempotency-key-header.
"""

import hashlib
import re

import orjson
from pydantic import BaseModel

from costlab.service.problem import BadRequest

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
# The draft makes it a quoted string; a bare one is as clear.
_KEY = re.compile(r'"([!#-\[\]-~]{1,255})"|([!#-~]{1,255})')


def parse(header: str | None) -> str | None:
    """The key of the header, or None without one."""
    if header is None:
        return None
    match = _KEY.fullmatch(header)
    if match is None:
        raise BadRequest(f"{HEADER}: expected 1 to 255 visible ASCII characters, in double quotes or bare.")
    return match[1] or match[2]


def fingerprint(body: BaseModel) -> bytes:
    """The same for bodies that mean the same, however they are written."""
    return hashlib.sha256(orjson.dumps(body.model_dump(), option=orjson.OPT_SORT_KEYS)).digest()

"""How a page of a history is found (flag ``orders.paging``), one file per way, and the token for the page after it.

A token is what ``next`` of a page gave: the id of its last order, and with offset paging ``.`` and how many orders
came before the next page, for instance ``81234.40``. Keyset paging takes the id and leaves the position, so a token
stays good when the flag changes between two pages. A token without a position is continued by its id.
"""

import re
from typing import NamedTuple

MAX_ID = 2**63 - 1
_TOKEN = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,18}))?")


class Token(NamedTuple):
    """Where a page begins: after the order ``order_id``, which ``position`` orders of the history lead up to."""

    order_id: int
    position: int | None = None


def parse(text: str) -> Token:
    """The token of ``text``; ValueError when it is none."""
    match = _TOKEN.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= MAX_ID:
        raise ValueError("expected what `next` of the page before gave")
    return Token(int(match[1]), None if match[2] is None else int(match[2]))

"""The route table of the public API: what is not in it is not reachable from outside.

A request is matched by its path as it came in, before anything is decoded, against an alphabet without dots,
percent signs and double slashes: what matches can be passed on as it is, and cannot mean another path there.
"""

import re
from typing import NamedTuple

PREFIX = "/api"
# As many digits as a 64-bit id has.
_ID = "[0-9]{1,19}"


class Route(NamedTuple):
    """``label`` names the route in metrics and documents; ``upstream`` owns it."""

    label: str
    upstream: str
    methods: tuple[str, ...]


ROUTES = (
    Route("/api/users", "users", ("GET", "HEAD", "POST")),
    Route("/api/users/{id}", "users", ("GET", "HEAD")),
    Route("/api/users/{id}/orders", "orders", ("GET", "HEAD")),
    Route("/api/products/{id}", "orders", ("GET", "HEAD")),
    Route("/api/stock/{id}/reserve", "orders", ("POST",)),
    Route("/api/orders", "orders", ("POST",)),
    Route("/api/orders/stats", "orders", ("GET", "HEAD")),
    Route("/api/orders/stats/totals", "orders", ("GET", "HEAD")),
    Route("/api/orders/{id}", "orders", ("GET", "HEAD")),
)
_TABLE = re.compile("|".join(f"({route.label.replace('{id}', _ID)})" for route in ROUTES))


def match(path: str) -> Route | None:
    """The route of a raw path; None when there is none."""
    found = _TABLE.fullmatch(path)
    return ROUTES[found.lastindex - 1] if found else None

"""Which origin answers a path. What no row matches is not proxied."""

import re
from typing import NamedTuple

_ID = "[0-9]{1,19}"
_PADDING = re.compile("/0+(?=[0-9])")


class Route(NamedTuple):
    """``label`` names the route in metrics; ``origin`` is the service that owns it."""

    label: str
    origin: str


ROUTES = (
    Route("/users", "users"),
    Route("/users/{id}", "users"),
    Route("/users/{id}/orders", "orders"),
    Route("/products/{id}", "orders"),
    Route("/orders", "orders"),
    Route("/orders/stats", "orders"),
    Route("/orders/stats/totals", "orders"),
    Route("/orders/{id}", "orders"),
)
_TABLE = re.compile("|".join(f"({route.label.replace('{id}', _ID)})" for route in ROUTES))


def match(path: str) -> Route | None:
    """The route of a path as it came in, undecoded; None when there is none."""
    found = _TABLE.fullmatch(path)
    return ROUTES[found.lastindex - 1] if found else None


def target(path: str, query: str) -> tuple[str, str]:
    """The path and the request target that all spellings of one question share.

    >>> target("/users/007/orders", "limit=5&after=9")
    ('/users/7/orders', '/users/7/orders?after=9&limit=5')

    Parameters are sorted by name only: the order of values given for one name may mean something.
    """
    if "/0" in path:
        path = _PADDING.sub("/", path)
    if not query:
        return path, path
    if "&" in query:
        query = "&".join(sorted(query.split("&"), key=_name))
    return path, f"{path}?{query}"


def _name(parameter: str) -> str:
    return parameter.partition("=")[0]

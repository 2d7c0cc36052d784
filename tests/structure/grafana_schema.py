"""A dashboard against Grafana's published schema, as grafana-foundation-sdk carries it.

The SDK's classes read any JSON: a field they do not know is dropped, and no value is looked at. So what comes back is
compared with what went in, and each value is held against the type its field is declared with.
"""

import enum
import json
import types
import typing
from collections.abc import Iterator

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()
# Of annotations by Prometheus: the schema leaves the fields of a data source to the data source.
OF_PROMETHEUS = {"step", "titleFormat", "textFormat"}


def violations(document: dict) -> list[str]:
    """Where ``document`` is not what Grafana takes, each with its place."""
    read = Dashboard.from_json(document)
    written = json.loads(JSONEncoder().encode(read))
    return [*_unknown(document, written, "dashboard"), *_wrong(read, Dashboard, "dashboard")]


def _unknown(given: object, written: object, place: str) -> Iterator[str]:
    if isinstance(given, dict):
        for name, value in given.items():
            if name in written:
                yield from _unknown(value, written[name], f"{place}.{name}")
            elif not (name in OF_PROMETHEUS and ".annotations.list[" in place):
                yield f"{place}.{name}: no such field"
    elif isinstance(given, list):
        for turn, (one, other) in enumerate(zip(given, written, strict=True)):
            yield from _unknown(one, other, f"{place}[{turn}]")


def _wrong(value: object, declared: object, place: str) -> Iterator[str]:
    origin, inner = typing.get_origin(declared), typing.get_args(declared)
    if hasattr(value, "from_json"):
        for name, one in typing.get_type_hints(type(value)).items():
            yield from _wrong(getattr(value, name), one, f"{place}.{name}")
    elif origin in (typing.Union, types.UnionType):
        found = [list(_wrong(value, one, place)) for one in inner if one is not types.NoneType or value is None]
        if all(found):
            yield from found[0]
    elif origin is list and isinstance(value, list):
        for turn, one in enumerate(value):
            yield from _wrong(one, inner[0], f"{place}[{turn}]")
    elif origin is dict and isinstance(value, dict):
        for name, one in value.items():
            yield from _wrong(one, inner[1], f"{place}.{name}")
    elif origin is typing.Literal:
        if value not in inner:
            yield f"{place}: {value!r} is not one of {inner}"
    elif isinstance(declared, type) and issubclass(declared, enum.Enum):
        if value not in [one.value for one in declared]:
            yield f"{place}: {value!r} is not one of {[one.value for one in declared]}"
    elif isinstance(declared, type) or origin is not None:
        expected = (int, float) if declared is float else origin or declared
        if not isinstance(value, expected) or (isinstance(value, bool) and declared in (int, float)):
            yield f"{place}: {value!r} is not {declared}"

"""The spans of a trace as a tree. Pure: spans as a service keeps them (OTLP in JSON) in, nodes out.

    GET /api/users/{id}        root: it has no parent
    └─ GET users
       └─ GET /users/<id>
          └─ postgres query

A span whose parent is not there is shown too, as an orphan: the parent was made by somebody outside, was not kept, or
is no longer. Units: times in nanoseconds since 1970, as each machine's clock tells them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_ERROR = 2


@dataclass(frozen=True)
class Span:
    """One span. ``links``: trace id and span id of each. ``error``: what went wrong, "" when nothing did."""

    service: str
    instance: str
    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    start: int
    end: int
    failed: bool
    error: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[tuple[str, str], ...] = ()

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e6


@dataclass
class Node:
    """A span and those it is the parent of, the first to start first."""

    span: Span
    orphan: bool = False
    children: "list[Node]" = field(default_factory=list)


def parse(written: Mapping[str, Any], service: str, instance: str) -> Span:
    """The span in the JSON form of OTLP."""
    status = written.get("status", {})
    return Span(
        service=service,
        instance=instance,
        trace_id=written["traceId"],
        span_id=written["spanId"],
        parent_id=written.get("parentSpanId"),
        name=written["name"],
        kind=_KINDS[written.get("kind", 0)],
        start=int(written["startTimeUnixNano"]),
        end=int(written["endTimeUnixNano"]),
        failed=status.get("code") == _ERROR,
        error=status.get("message", ""),
        attributes={each["key"]: _value(each["value"]) for each in written.get("attributes", ())},
        links=tuple((link["traceId"], link["spanId"]) for link in written.get("links", ())),
    )


def build(spans: Iterable[Span]) -> list[Node]:
    """The roots and the orphans, the first to start first. Each span is in one of their trees, once."""
    nodes = {span.span_id: Node(span) for span in sorted(spans, key=lambda span: (span.start, span.span_id))}
    tops = []
    for node in nodes.values():
        parent = nodes.get(node.span.parent_id or "")
        if parent is None:
            node.orphan = node.span.parent_id is not None
            tops.append(node)
        else:
            parent.children.append(node)
    return tops


def _value(written: Mapping[str, Any]) -> Any:
    [(kind, value)] = written.items()
    if kind == "intValue":
        return int(value)
    if kind == "arrayValue":
        return [_value(each) for each in value.get("values", ())]
    return value

"""Every span that was kept is shown once, under its parent where that is there."""

import math

from hypothesis import given
from hypothesis import strategies as st

from costlab.seeing import kept_trace, span_tree
from costlab.seeing.kept_trace import SETTLED_SECONDS, KeptTrace
from costlab.seeing.span_tree import Node, Span

TRACE = "a" * 32


def span(number: int, parent: int | None = None, start: int = 0, end: int = 1) -> Span:
    above = None if parent is None else f"{parent:016x}"
    return Span("users", "users-2", TRACE, f"{number:016x}", above, "GET", "server", start, end, False, "")


def walk(node: Node) -> list[Span]:
    return [node.span, *(each for child in node.children for each in walk(child))]


@st.composite
def spans(draw) -> list[Span]:
    """Parents have smaller numbers, as they were there first; any of them may not have been kept."""
    made = [
        span(number, draw(st.none() | st.integers(0, number - 1)) if number else None, draw(st.integers(0, 20)), 30)
        for number in range(draw(st.integers(0, 15)))
    ]
    return draw(st.permutations([each for each in made if draw(st.integers(0, 4))]))


@given(spans())
def test_every_span_is_in_the_tree_once(kept):
    shown = [each for node in span_tree.build(kept) for each in walk(node)]
    assert sorted(each.span_id for each in shown) == sorted(each.span_id for each in kept)


@given(spans())
def test_who_is_no_root_is_below_its_parent_or_an_orphan(kept):
    there = {each.span_id for each in kept}
    for node in span_tree.build(kept):
        assert node.orphan == (node.span.parent_id is not None)
        assert node.span.parent_id not in there


@given(spans())
def test_siblings_are_in_the_order_of_their_start(kept):
    def check(nodes: list[Node]) -> None:
        starts = [node.span.start for node in nodes]
        assert starts == sorted(starts)
        for node in nodes:
            check(node.children)

    check(span_tree.build(kept))


def test_a_span_is_read_as_otlp_writes_it():
    written = {
        "traceId": TRACE,
        "spanId": "b" * 16,
        "parentSpanId": "c" * 16,
        "name": "GET users",
        "kind": 3,
        "startTimeUnixNano": "1000000",
        "endTimeUnixNano": "3500000",
        "attributes": [
            {"key": "http.response.status_code", "value": {"intValue": "503"}},
            {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}]}}},
        ],
        "links": [{"traceId": "d" * 32, "spanId": "e" * 16}],
        "status": {"code": 2, "message": "UpstreamTimeout"},
    }
    read = span_tree.parse(written, "gateway", "gateway")
    assert (read.kind, read.milliseconds, read.failed, read.error) == ("client", 2.5, True, "UpstreamTimeout")
    assert read.attributes == {"http.response.status_code": 503, "list": ["a"]}
    assert read.links == (("d" * 32, "e" * 16),)


class Clock:
    """Goes on only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def pause(self, seconds: float) -> None:
        self.now += seconds


def waited(look, seconds: float) -> float:
    clock = Clock()
    kept_trace.wait_for(lambda: look(clock.now), seconds, lambda: clock.now, clock.pause)
    return clock.now - 1000.0


def ended(at: float) -> KeptTrace:
    return KeptTrace([span(1, end=math.floor(at * 1e9))], [], None)


def test_a_trace_that_ended_long_ago_is_not_waited_for():
    assert waited(lambda now: ended(900.0), 10) == 0


def test_one_that_has_just_ended_is_until_nothing_more_can_come():
    assert SETTLED_SECONDS <= waited(lambda now: ended(1000.0), 10) < SETTLED_SECONDS + 1


def test_what_never_comes_is_waited_for_as_long_as_was_said():
    assert 3 <= waited(lambda now: KeptTrace([], [], None), 3) < 4
    assert waited(lambda now: KeptTrace([], [], None), 0) == 0

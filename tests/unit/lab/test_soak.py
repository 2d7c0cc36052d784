"""The soak's own arithmetic: what it draws is allowed and repeats, and no order goes wrong unseen."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.lab import fault_sequences
from costlab.lab.soak import judged
from costlab.service.faults import Registry

REGISTRY = Registry.load()
MENU = fault_sequences.menu(wire=True)
SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=100)
@given(SEEDS, st.integers(1, 1000), st.floats(1, 60))
def test_what_is_drawn_is_a_wish_that_is_allowed_and_over_when_the_sequence_is(seed, number, seconds):
    drawn = fault_sequences.draw(seed, number, MENU, seconds)
    assert 1 <= len(drawn.faults) <= fault_sequences.MOST
    assert drawn.faults[0].at == 0
    for timed in drawn.faults:
        wish = REGISTRY.wish(timed.document)
        assert timed.at + wish.ttl <= max(seconds, timed.at + 1) + 0.1


@settings(max_examples=50)
@given(SEEDS, st.integers(1, 1000))
def test_a_sequence_is_the_same_whatever_was_drawn_before_it(seed, number):
    alone = fault_sequences.draw(seed, number, MENU, 3)
    fault_sequences.draw(seed, number + 1, MENU, 3)
    assert fault_sequences.draw(seed, number, MENU, 3) == alone
    assert fault_sequences.draw(seed ^ 1, number, MENU, 3) != alone


def test_a_few_hundred_sequences_make_every_fault_at_every_place():
    """On every service and server, and on every edge, so nothing is left out of the menu by mistake."""
    offered = [places[0].fault for faults in MENU.values() for places in faults]
    assert sorted(fault.name for fault in offered) == sorted(fault.name for fault in REGISTRY)
    drawn = [timed.document for number in range(400) for timed in fault_sequences.draw(7, number, MENU, 3).faults]
    assert {document["fault"] for document in drawn} == {fault.name for fault in REGISTRY}
    assert {document["on"] for document in drawn} == {*fault_sequences.SERVICES, "postgres", "redis", "toxiproxy"}
    assert len({(document["on"], document["edge"]) for document in drawn if document["edge"]}) == 15


def test_without_the_wire_nothing_on_it_is_drawn_nor_toxiproxy_killed():
    places = [place for faults in fault_sequences.menu(wire=False).values() for places in faults for place in places]
    assert not any(place.fault.level == "wire" or place.on == "toxiproxy" for place in places)


@settings(max_examples=100)
@given(st.sets(st.integers(1, 100)), st.sets(st.integers(1, 100)), st.lists(st.integers(1, 100)))
def test_orders_are_judged_right_exactly_when_each_is_stored_and_processed_once(placed, stored, processed):
    times = Counter(processed)
    well = placed == stored == set(times) and max(times.values(), default=1) == 1
    assert (judged(sorted(placed), sorted(stored), dict(times)) == "") == well


@pytest.mark.parametrize(
    ("placed", "stored", "processed", "says"),
    [
        ([1, 1], [1], {1: 1}, "accepted twice under one id: 1"),
        ([1, 2], [1], {1: 1}, "accepted and not stored: 2"),
        ([1], [1, 2], {1: 1, 2: 1}, "stored and never accepted: 2"),
        ([1], [1], {}, "never processed: 1"),
        ([1], [1], {1: 2}, "processed more than once: 1"),
    ],
)
def test_what_is_wrong_with_an_order_is_said(placed, stored, processed, says):
    assert judged(placed, stored, processed) == says

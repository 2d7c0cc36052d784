"""Deadlines: what comes in as milliseconds that remain, and until when a call may take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab.resilience import deadline

moments = st.floats(0, 1e6)


def test_a_deadline_is_the_remaining_milliseconds_from_now():
    assert deadline.parse("1500", now=10.0) == 11.5


@pytest.mark.parametrize("header", ["", "soon", "-5", "1.5", "²", "1e3"])
def test_what_is_not_a_number_of_milliseconds_sets_no_deadline(header):
    assert deadline.parse(header, now=10.0) is None


@given(st.text())
def test_no_header_breaks_it(header):
    found = deadline.parse(header, now=10.0)
    assert found is None or found >= 10.0


@given(moments, st.floats(0, 100), st.none() | moments)
def test_a_call_ends_with_its_timeout_or_the_requests_deadline_whichever_comes_first(now, timeout, end):
    assert deadline.nearest(now, timeout, end) == (now + timeout if end is None else min(now + timeout, end))


@given(st.integers(0, 30_000), st.lists(st.floats(0, 5), max_size=5))
def test_every_hop_has_at_most_what_the_hop_before_had_left(milliseconds, works):
    """Each hop works a while and hands on whole milliseconds; what is over already, ends at once."""
    end = deadline.parse(str(milliseconds), now=0.0)
    now = 0.0
    for work in works:
        now += work
        left = max(0.0, deadline.nearest(now, 5.0, end) - now)
        inner = deadline.parse(str(int(left * 1000)), now)
        assert inner <= max(now, end) + 1e-9
        end = inner

"""How an instance goes, by the clock."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.service.flags import Registry
from costlab.service.shutdown import KINDS, Leaving

TIMES = st.floats(0, 40)
CONNECTIONS = st.integers(0, 5)


def test_the_kinds_are_those_of_the_flag():
    assert set(KINDS) == set(Registry.load()["service.shutdown"].values)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(KINDS)), TIMES, CONNECTIONS)
def test_nothing_lasts_longer_than_its_bound(kind, elapsed, connections):
    leaving = Leaving(KINDS[kind], began=100, longest=20)
    if elapsed >= KINDS[kind].finished:
        assert leaving.over(100 + elapsed, connections)
    elif connections:
        assert not leaving.over(100 + elapsed, connections)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(KINDS)), TIMES, TIMES, CONNECTIONS)
def test_nothing_comes_back(kind, first, second, connections):
    """Who has refused a connection never accepts one again, and who has gone stays gone."""
    leaving = Leaving(KINDS[kind], began=0, longest=20)
    earlier, later = sorted((first, second))
    assert leaving.accepts(earlier) or not leaving.accepts(later)
    assert leaving.keeps_idle(earlier) or not leaving.keeps_idle(later)
    assert not leaving.over(earlier, connections) or leaving.over(later, connections)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(KINDS)), TIMES)
def test_it_goes_as_soon_as_nobody_is_connected_and_nobody_more_is_let_in(kind, elapsed):
    leaving = Leaving(KINDS[kind], began=0, longest=20)
    assert leaving.over(elapsed, connections=0) == (not leaving.accepts(elapsed))


@pytest.mark.parametrize(("kind", "accepts", "finishes"), [("kill", 0, 0), ("term", 0, 1), ("drain", 1, 15)])
def test_each_kind_keeps_its_times(kind, accepts, finishes):
    leaving = Leaving(KINDS[kind], began=0, longest=20)
    assert leaving.accepts(accepts / 2) == (accepts > 0)
    assert leaving.over(finishes / 2, 1) == (finishes == 0)
    assert not leaving.accepts(accepts)
    assert leaving.over(finishes, 1)


def test_the_server_may_allow_less():
    leaving = Leaving(KINDS["drain"], began=0, longest=1)
    assert leaving.over(1, connections=5)

"""The fixed concurrency limit."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.shed.fixed import ConcurrencyLimit

# What happens next: somebody leaves, or somebody comes while the limit is this.
STEPS = st.lists(st.one_of(st.just("leave"), st.integers(1, 8)), max_size=200)


@given(STEPS)
def test_nobody_enters_beyond_the_limit_of_that_moment_and_nobody_is_refused_below_it(steps):
    room, inside = ConcurrencyLimit(), 0
    for step in steps:
        if step == "leave":
            if inside:
                room.leave()
                inside -= 1
        else:
            admitted = room.enter(step)
            assert admitted == (inside < step)
            inside += admitted
        assert room.in_flight == inside


@given(st.integers(1, 50), st.lists(st.booleans(), max_size=200))
def test_in_flight_never_exceeds_a_limit_that_stays(limit, arrivals):
    room = ConcurrencyLimit()
    for arrives in arrivals:
        if arrives:
            room.enter(limit)
        elif room.in_flight:
            room.leave()
        assert room.in_flight <= limit

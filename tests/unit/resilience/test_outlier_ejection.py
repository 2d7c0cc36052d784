"""Outlier ejection: after failures in a row, for a while, and never too many at once."""

from hypothesis import given
from hypothesis import strategies as st

from costlab.resilience.outlier_ejection import BASE_SECONDS, CAP_SECONDS, IN_A_ROW, SHARE, OutlierEjection

EVENTS = st.lists(
    st.tuples(st.sampled_from(["fail", "fail", "fail", "succeed"]), st.integers(0, 7), st.floats(0, 5)), max_size=120
)


def fail(ejection, name, now, of=3, times=IN_A_ROW):
    return [ejection.failed(name, of, now) for _ in range(times)]


def test_failures_in_a_row_eject_and_a_success_between_them_does_not():
    ejection = OutlierEjection()
    fail(ejection, "a", 0.0, times=IN_A_ROW - 1)
    ejection.succeeded("a")
    assert not any(fail(ejection, "a", 0.0, times=IN_A_ROW - 1))
    assert ejection.failed("a", 3, 0.0)
    assert ejection.is_out("a", 0.0)
    assert not ejection.is_out("b", 0.0)


def test_the_time_out_doubles_up_to_the_cap_while_it_keeps_failing():
    ejection, now, times = OutlierEjection(), 0.0, []
    for _ in range(8):
        fail(ejection, "a", now)
        began = now
        while ejection.is_out("a", now):
            now += 0.25
        times.append(now - began)
    assert times == [1, 2, 4, 8, 16, 30, 30, 30]


def test_after_it_has_been_well_for_as_long_as_it_was_out_the_time_begins_anew():
    ejection = OutlierEjection()
    fail(ejection, "a", 0.0)
    fail(ejection, "a", 1.0)
    assert ejection.is_out("a", 2.9)
    fail(ejection, "a", 10.0)
    assert ejection.is_out("a", 10.9)
    assert not ejection.is_out("a", 10.0 + BASE_SECONDS)


def test_a_replica_that_is_alone_is_never_ejected():
    ejection = OutlierEjection()
    assert not any(fail(ejection, "a", 0.0, of=1, times=20))


@given(st.integers(1, 8), EVENTS)
def test_never_more_than_the_share_are_out_and_every_ejection_ends(replicas, events):
    ejection, now = OutlierEjection(), 0.0
    names = [f"r{number}" for number in range(replicas)]
    for kind, number, passes in events:
        name = names[number % replicas]
        if kind == "fail":
            ejection.failed(name, replicas, now)
        else:
            ejection.succeeded(name)
        assert ejection.out(now) <= SHARE * replicas
        assert ejection.out(now) == sum(ejection.is_out(name, now) for name in names)
        now += passes
    assert ejection.out(now + CAP_SECONDS) == 0


@given(st.integers(2, 8), st.data())
def test_when_replicas_go_away_the_share_holds_for_those_that_stay(replicas, data):
    ejection = OutlierEjection()
    names = [f"r{number}" for number in range(replicas)]
    for name in names:
        fail(ejection, name, 0.0, of=replicas)
    kept = data.draw(st.lists(st.sampled_from(names), unique=True))
    ejection.keep(kept, 0.5)
    assert ejection.out(0.5) <= SHARE * len(kept)
    assert not any(ejection.is_out(name, 0.5) for name in set(names) - set(kept))

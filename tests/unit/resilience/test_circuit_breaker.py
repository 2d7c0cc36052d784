"""The circuit breaker: opens, lets exactly one probe through, closes again; and never serialises calls."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from costlab.resilience.circuit_breaker import CircuitBreaker, CircuitOpen


class Boom(Exception):
    pass


class NotItsFault(Exception):
    pass


def fail(breaker, times=1, error=Boom):
    for _ in range(times):
        with pytest.raises(error), breaker.guard():
            raise error


def let_time_pass(breaker, seconds):
    """Move the moment the circuit opened into the past, instead of waiting."""
    storage = breaker._breaker._state_storage
    storage.opened_at = datetime.now(UTC) - timedelta(seconds=seconds)


@pytest.fixture
def breaker():
    return CircuitBreaker("upstream", failures=3, open_seconds=5, ignore=(NotItsFault,))


def test_it_opens_after_that_many_failures_in_a_row(breaker):
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.state == "open"


def test_the_failure_that_opens_it_is_raised_as_it_was(breaker):
    fail(breaker, 3, Boom)


def test_a_success_starts_the_count_again(breaker):
    fail(breaker, 2)
    with breaker.guard():
        pass
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_an_open_circuit_refuses_without_running_the_call(breaker):
    fail(breaker, 3)
    ran = []
    with pytest.raises(CircuitOpen), breaker.guard():
        ran.append(1)
    assert ran == []


def test_errors_that_say_nothing_about_the_upstream_do_not_open_it(breaker):
    fail(breaker, 10, NotItsFault)
    assert breaker.state == "closed"


def test_a_probe_that_succeeds_closes_it(breaker):
    fail(breaker, 3)
    let_time_pass(breaker, 6)
    with breaker.guard():
        pass
    assert breaker.state == "closed"


def test_a_probe_that_fails_opens_it_for_another_period(breaker):
    fail(breaker, 3)
    let_time_pass(breaker, 6)
    fail(breaker)
    assert breaker.state == "open"
    with pytest.raises(CircuitOpen), breaker.guard():
        pass


def test_exactly_one_of_many_waiting_callers_is_the_probe(breaker):
    fail(breaker, 3)
    let_time_pass(breaker, 6)
    callers, inside, start = 16, [], threading.Barrier(16)
    refused = threading.Semaphore(0)

    def call():
        start.wait()
        try:
            with breaker.guard():
                inside.append(threading.get_ident())
                for _ in range(callers - 1):
                    assert refused.acquire(timeout=5)
        except CircuitOpen:
            refused.release()

    with ThreadPoolExecutor(callers) as pool:
        for future in [pool.submit(call) for _ in range(callers)]:
            future.result()
    assert len(inside) == 1
    assert breaker.state == "closed"


def test_calls_run_side_by_side_while_the_circuit_is_closed(breaker):
    """Bare pybreaker.call() holds a lock over the call, and this barrier would never be passed."""
    together = threading.Barrier(4)

    def call():
        with breaker.guard():
            together.wait(timeout=5)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(call) for _ in range(4)]:
            future.result()


def test_a_call_that_was_under_way_when_the_circuit_opened_ends_as_it_ends(breaker):
    """Others fail while it runs; it was let through, so it is not told that it was refused."""
    with breaker.guard():
        fail(breaker, 3)
    with pytest.raises(CircuitOpen), breaker.guard():
        pass


def test_a_call_that_fails_after_the_circuit_opened_raises_its_own_error(breaker):
    def fail_late():
        with breaker.guard():
            fail(breaker, 3)
            raise Boom

    with pytest.raises(Boom):
        fail_late()
    assert breaker.state == "open"


def test_a_call_that_gave_the_upstream_too_little_time_counts_neither_way(breaker):
    fail(breaker, 2)
    for _ in range(10):
        with pytest.raises(Boom), breaker.guard(fair=False):
            raise Boom
    assert breaker.state == "closed"
    with breaker.guard(fair=False):
        pass
    fail(breaker)
    assert breaker.state == "open"


def test_a_call_with_too_little_time_is_not_the_probe(breaker):
    fail(breaker, 3)
    let_time_pass(breaker, 6)
    with pytest.raises(CircuitOpen), breaker.guard(fair=False):
        pass
    with breaker.guard():
        pass
    assert breaker.state == "closed"


@pytest.fixture
def open_since_a_while(breaker):
    """The circuit opens and the time for a probe comes, while calls are under way that were let through before."""

    def pass_by():
        fail(breaker, 3)
        let_time_pass(breaker, 6)

    return pass_by


def test_a_call_that_fails_late_is_not_taken_for_the_probe(breaker, open_since_a_while):
    def fail_late():
        with breaker.guard():
            open_since_a_while()
            raise Boom

    with pytest.raises(Boom):
        fail_late()
    with breaker.guard():
        pass
    assert breaker.state == "closed"


def test_nor_is_one_that_succeeds_late(breaker, open_since_a_while):
    with breaker.guard():
        open_since_a_while()
    assert breaker.state == "open"


def test_a_call_that_fails_late_does_not_fail_the_probe_that_is_under_way(breaker, open_since_a_while):
    late = breaker.guard()
    late.__enter__()
    open_since_a_while()
    with breaker.guard():
        assert breaker.state == "half-open"
        late.__exit__(Boom, Boom(), None)
        assert breaker.state == "half-open"
    assert breaker.state == "closed"

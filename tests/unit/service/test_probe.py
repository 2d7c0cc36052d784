"""Readiness: what each kind of probe asks, how long it waits, and when it stays open."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab.service.health import Health
from costlab.service.readiness import FAIL_OPEN_SECONDS, BoundedCheck, FailOpen, ask, perform
from tests.conditions import eventually

NAMES = ("postgres", "redis", "users")


def passes() -> None:
    """A check that finds nothing wrong."""


def fails() -> None:
    raise ConnectionError("it is away")


@pytest.fixture
def health(set_flags):
    """A health with checks of the process and of dependencies, under one kind of probe."""

    def make(probe, own=None, **dependencies):
        made = Health(set_flags(**{"service.probe": probe}))
        made.add("catalogue", own or passes, dependency=False)
        for name, check in dependencies.items():
            made.add(name, check, dependency=True)
        return made

    return make


@pytest.mark.parametrize("probe", ["shallow", "deep", "deep_fail_open"])
def test_what_start_up_waits_for_counts_in_every_mode(health, probe):
    ready, document = health(probe, own=fails, postgres=passes).readiness(0.0)
    assert not ready
    assert document["checks"]["catalogue"] == "it is away"
    assert health(probe, postgres=passes).readiness(0.0)[0]


def test_a_shallow_probe_asks_no_dependency(health):
    asked = []
    ready, document = health("shallow", postgres=lambda: asked.append(1)).readiness(0.0)
    assert (ready, document["checks"], asked) == (True, {"catalogue": "ok"}, [])


def test_a_deep_probe_is_unready_when_a_dependency_fails(health):
    ready, document = health("deep", postgres=fails).readiness(0.0)
    assert (ready, document["status"], document["checks"]["postgres"]) == (False, "unavailable", "it is away")
    assert "warning" not in document


def test_every_check_carries_its_duration(health):
    _, document = health("deep", postgres=passes).readiness(0.0)
    assert document["milliseconds"].keys() == document["checks"].keys() == {"catalogue", "postgres"}
    moments = iter([1.0, 3.5])
    assert perform(passes, lambda: next(moments)).seconds == 2.5


def test_a_probe_that_fails_open_is_ready_with_a_warning_when_all_dependencies_fail(health):
    ready, document = health("deep_fail_open", postgres=fails, redis=fails).readiness(0.0)
    assert ready
    assert "Nothing this service depends on answers" in document["warning"]
    assert document["checks"]["postgres"] == "it is away"


def test_one_dependency_of_several_is_waited_for_before_the_probe_opens(health):
    made = health("deep_fail_open", postgres=fails, redis=passes)
    assert not made.readiness(0.0)[0]
    assert not made.readiness(FAIL_OPEN_SECONDS - 0.1)[0]
    ready, document = made.readiness(FAIL_OPEN_SECONDS)
    assert ready
    assert "postgres" in document["warning"]


def test_a_check_that_hangs_is_given_up_and_not_begun_a_second_time():
    begun, release = [], threading.Event()

    def hangs() -> None:
        begun.append(1)
        release.wait()

    check = BoundedCheck(hangs)
    for _ in range(3):
        [result] = ask({"postgres": check}, patience=0.01).values()
        assert not result.ok
        assert result.said.startswith("No answer for")
    assert len(begun) == 1
    release.set()
    eventually(lambda: ask({"postgres": check}, patience=0.01)["postgres"].ok)


@given(st.lists(st.tuples(st.floats(0, 5), st.sets(st.sampled_from(NAMES))), max_size=30))
def test_it_opens_only_when_all_fail_or_every_failure_is_old(probes):
    fail_open, now, since = FailOpen(), 0.0, {}
    for pause, failed in probes:
        now += pause
        since = {name: since.get(name, now) for name in failed}
        warning = fail_open.warning(NAMES, failed, now)
        old = all(now - begun >= FAIL_OPEN_SECONDS for begun in since.values())
        assert (warning is not None) == (bool(failed) and (len(failed) == len(NAMES) or old))

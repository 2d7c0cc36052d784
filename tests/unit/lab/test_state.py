"""The state every block starts from: the same steps, whichever variant it is and whichever came before."""

from types import SimpleNamespace

import pytest

from costlab.lab.experiment import State, Variant
from costlab.lab.state import Stage
from tests.unit.lab import synthetic

BEFORE = {"http.pool_size": 8, "service.processes": 1, "service.threads": 8, "cache.ttl": 30.0}
SERVICES = ("gateway", "users", "users-2", "orders", "cache-proxy")


class Stack:
    """Remembers what was done to it. Setting a restart flag restarts whoever runs with another value."""

    def __init__(self):
        self.running = {name: dict(BEFORE) for name in SERVICES}
        self.events = []

    def internal_urls(self):
        return dict.fromkeys(SERVICES, "http://127.0.0.1:1")

    def restart(self, *services):
        self.events.append(("restart", services))

    def set_flags(self, changes):
        self.events.append(("set", dict(changes)))
        late = [
            name
            for name, values in self.running.items()
            if any(values[flag] != value for flag, value in changes.items() if flag.startswith("service."))
        ]
        self.running = {name: values | changes for name, values in self.running.items()}
        if late:
            self.events.append(("restart", tuple(late)))
        return 1, late

    def restarts(self):
        return [services for event, services in self.events if event == "restart"]


@pytest.fixture
def stack():
    return Stack()


@pytest.fixture
def stage(stack):
    def make(variants, **state):
        named = {name: Variant(summary="-", flags=flags) for name, flags in variants.items()}
        declared = synthetic.day_11().model_copy(update={"variants": named, "state": State(**state)})
        control = SimpleNamespace(flags=lambda: stack.running["gateway"])
        return Stage(stack, control, declared, stack.set_flags, BEFORE)

    return make


def test_live_flags_restart_nothing(stage, stack):
    made = stage({"a": {"http.pool_size": 1}, "b": {"http.pool_size": 64}})
    made.set("a")
    made.set("b")
    assert stack.restarts() == []


def test_when_one_variant_needs_a_restart_every_block_of_every_variant_restarts(stage, stack):
    made = stage({"a": {"http.pool_size": 1}, "b": {"service.processes": 2}})
    for variant in ("a", "b", "b", "a", "a"):
        stack.events.clear()
        assert made.set(variant)["service.processes"] == (2 if variant == "b" else 1)
        assert stack.restarts() == [SERVICES]


def test_a_restart_flag_that_is_the_same_in_every_variant_restarts_once(stage, stack):
    made = stage({"a": {"service.threads": 2, "cache.ttl": 1}, "b": {"service.threads": 2}})
    for variant in ("a", "b", "b"):
        made.set(variant)
    assert stack.restarts() == [SERVICES]


def test_a_service_that_is_to_start_anew_does_so_before_every_block_with_all_its_instances(stage, stack):
    made = stage({"a": {"cache.ttl": 1}, "b": {"cache.ttl": 2}}, restart=["users"])
    made.set("a")
    made.set("a")
    assert stack.restarts() == [("users", "users-2")] * 2


def test_after_a_restart_the_flags_are_in_force_in_the_new_processes(stage, stack):
    made = stage({"a": {"cache.ttl": 1}, "b": {"cache.ttl": 2}}, restart=["orders"])
    made.set("b")
    assert [event for event, _ in stack.events] == ["set", "restart", "set"]


def test_a_flag_that_only_another_variant_names_is_back_at_its_value(stage, stack):
    made = stage({"a": {"http.pool_size": 1}, "b": {"cache.ttl": 2}})
    made.set("a")
    assert made.set("b") == BEFORE | {"cache.ttl": 2}


def test_at_the_end_flags_that_take_a_restart_are_back_too(stage, stack):
    made = stage({"a": {"service.processes": 4}, "b": {"http.pool_size": 2}})
    made.set("a")
    made.restore()
    assert set(map(str, stack.running.values())) == {str(BEFORE)}
    assert stack.events[-1] == ("restart", SERVICES)

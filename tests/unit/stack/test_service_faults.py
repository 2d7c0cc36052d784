"""Faults inside services, asked for from outside, where services do not answer."""

import socket
import time
from contextlib import ExitStack

import pytest

from costlab.failure import Failure
from costlab.service.fault_engine import FaultEngine
from costlab.service.fault_store import FaultStore
from costlab.service.faults import BadFault, Record, Registry
from costlab.stack import service_faults
from costlab.stack.service_faults import ServiceFaults, instances
from tests.loopback import answering


class Silent:
    """A stack whose services are all gone; its Redis is where it says."""

    def __init__(self, redis_url: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self._redis_url = redis_url

    def internal_urls(self) -> dict[str, str]:
        return dict.fromkeys(("users", "users-2", "orders"), f"http://127.0.0.1:{self._port}")

    def token(self) -> str:
        return "secret"

    def redis_url(self) -> str:
        return self._redis_url


def added(redis) -> tuple[Registry, Record]:
    registry = Registry.load()
    record = Record.of(registry.wish({"fault": "hang", "on": "users"}), time.time())
    FaultStore(redis, registry).add(record)
    return registry, record


def test_faults_are_cleared_though_every_service_hangs(redis, redis_url):
    added(redis)
    engine = FaultEngine("users", redis)
    engine.refresh()
    assert len(engine.records()) == 1
    assert ServiceFaults(Silent(redis_url)).clear() == 1
    engine.refresh()
    assert engine.records() == []
    engine.stop()


def test_who_cannot_be_reached_at_all_says_that_faults_end_at_their_time(free_port):
    with pytest.raises(Failure, match="ends at its time"):
        ServiceFaults(Silent(f"redis://127.0.0.1:{free_port}/0")).clear()


@pytest.fixture
def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_a_service_nobody_knows_is_refused_with_those_there_are(redis_url):
    wish = Registry.load().wish({"fault": "hang", "on": "users-3"})
    with pytest.raises(BadFault, match="there is no service 'users-3'; there are: users, users-2, orders"):
        ServiceFaults(Silent(redis_url)).apply(wish)


def test_what_is_active_in_services_that_hang_is_what_redis_was_told(redis, redis_url):
    assert ServiceFaults(Silent(redis_url)).active() == []
    _, record = added(redis)
    assert ServiceFaults(Silent(redis_url)).active() == [record]
    assert ServiceFaults(Silent(redis_url)).remove(record.id)
    assert ServiceFaults(Silent(redis_url)).active() == []


def test_nothing_is_known_to_be_active_where_redis_is_away_too(free_port):
    assert ServiceFaults(Silent(f"redis://127.0.0.1:{free_port}/0")).active() == []


class Replicated(Silent):
    """users and users-2, which answer; the second never has anything in force."""

    def __init__(self, urls: dict[str, str]) -> None:
        self._urls = urls

    def internal_urls(self) -> dict[str, str]:
        return self._urls


def test_a_fault_that_not_every_instance_makes_is_taken_back(monkeypatch):
    monkeypatch.setattr(service_faults, "IN_FORCE_SECONDS", 0)
    held: dict[str, dict] = {}
    wish = Registry.load().wish({"fault": "hang", "on": "users"})

    def first(method: str, path: str) -> tuple[int, object]:
        if method == "POST":
            made = Record.of(wish, time.time())
            held[made.id] = made.document()
            return 201, {"revision": 7, "fault": made.document()}
        if method == "DELETE":
            return 200, {"revision": 7, "removed": len([held.pop(path.rpartition("/")[2])])}
        return 200, {"in_force": 7, "faults": list(held.values())}

    with ExitStack() as both:
        urls = {"users": both.enter_context(answering(first))}
        urls["users-2"] = both.enter_context(answering(lambda *_: (200, {"in_force": 1, "faults": []})))
        with pytest.raises(Failure, match="users-2 did not follow within"):
            ServiceFaults(Replicated(urls)).apply(wish)
        assert held == {}


@pytest.mark.parametrize(
    ("on", "meant"),
    [
        ("users", ["users", "users-2", "users-3"]),
        ("users-1", ["users"]),
        ("users-3", ["users-3"]),
        ("users-4", []),
        ("cache-proxy", ["cache-proxy"]),
        ("cache", []),
    ],
)
def test_a_service_means_all_its_instances_and_a_number_one_of_them(on, meant):
    assert instances(on, dict.fromkeys(("users", "users-2", "users-3", "cache-proxy"), "")) == meant

"""How a configuration document reaches the processes of a service, and what becomes of a bad one."""

import json

import pytest
from redis import Redis
from typer.testing import CliRunner

from costlab.cli import application
from costlab.service.configuration import ConfigurationStore
from costlab.stack.control import ControlError
from tests.conditions import eventually
from tests.e2e.test_effects import total

HISTORY = "/api/users/7/orders"
FAILED = {"http_route": "/users/<int:user_id>/orders", "http_response_status_code": "500"}


class Orders:
    """orders from outside: its document, what its processes run with, what its clients see."""

    def __init__(self, control, client) -> None:
        self._control = control
        self._client = client

    def set(self, **fields: object) -> int:
        return self._control.set_configuration("orders", fields)

    def reset(self) -> None:
        """Put everything back, also in a process that has not read it for long."""
        self._control.set_flags(dict.fromkeys(["service.config", "service.config_poll", "service.config_validation"]))
        revision = self.set(max_page=None, max_lines=None)
        eventually(lambda: self.runs_with(revision))

    def runs_with(self, revision: int) -> bool:
        """Whether every process does."""
        return set(self._control.configuration_revisions("orders")) == {revision}

    def processes(self) -> int:
        return len(self._control.configuration_revisions("orders"))

    def has_missed(self, revision: int) -> bool:
        """Whether no process has it after a flag, set later and always pushed, has reached all of them."""
        self._control.set_flags({"cache.ttl": 17})
        return revision not in self._control.configuration_revisions("orders")

    def page(self) -> int:
        """How many orders a page has."""
        reply = self._client.get(HISTORY)
        assert reply.status == 200, reply.body
        return len(reply.json["orders"])

    def documents(self, outcome: str) -> float:
        return total(self._control, "orders", "costlab_config_documents_total", outcome=outcome)

    def failed(self) -> float:
        return total(self._control, "orders", "http_server_request_duration_seconds_count", **FAILED)


@pytest.fixture
def orders(control, client):
    seen = Orders(control, client)
    yield seen
    seen.reset()


def test_push_reaches_every_process_at_once(orders):
    """ "service.config": push is one message."""
    revision = orders.set(max_page=2)
    eventually(lambda: orders.runs_with(revision))
    assert orders.page() == 2


def test_poll_reaches_every_process_at_its_next_look_and_not_before(orders, control):
    """ "service.config_poll": nothing for as long as the interval lasts, and everything after it."""
    control.set_flags({"service.config": "poll", "service.config_poll": 3600})
    first = orders.set(max_page=2)
    assert orders.has_missed(first)
    assert orders.page() > 2
    control.set_flags({"service.config_poll": 0.3})
    eventually(lambda: orders.runs_with(first))
    second = orders.set(max_page=3)
    eventually(lambda: orders.runs_with(second))
    assert orders.page() == 3


def test_restart_reaches_only_processes_that_start(orders, control, stack):
    control.set_flags({"service.config": "restart"})
    revision = orders.set(max_page=2)
    assert orders.has_missed(revision)
    assert orders.page() > 2
    stack.restart("orders")
    assert orders.runs_with(revision)
    assert orders.page() == 2


def test_a_bad_value_is_refused_at_the_door_with_one_error_and_no_request_fails(orders):
    """ "service.config_validation": on, the field and what is allowed are named, and nothing is stored."""
    good = orders.set(max_page=3)
    eventually(lambda: orders.runs_with(good))
    failed, away = orders.failed(), orders.documents("turned_away")
    with pytest.raises(ControlError, match=r"^max_page: .*allowed: 1 to 100 \(whole\)$"):
        orders.set(max_page="many", max_lines=10)
    assert orders.documents("turned_away") == away + 1
    assert orders.page() == 3
    assert orders.failed() == failed
    assert orders.runs_with(good)


def test_a_bad_value_that_is_in_redis_all_the_same_is_refused_by_each_process(orders, stack):
    """It keeps the last good document and counts the refusal."""
    good = orders.set(max_page=3)
    eventually(lambda: orders.runs_with(good))
    refused, failed = orders.documents("refused"), orders.failed()
    with Redis.from_url(stack.redis_url()) as redis:
        ConfigurationStore(redis, "orders").set({"max_page": "many"})
    eventually(lambda: orders.documents("refused") == refused + orders.processes())
    assert orders.page() == 3
    assert orders.failed() == failed
    assert orders.runs_with(good)


def test_without_validation_a_bad_value_fails_requests_until_it_is_mended(orders, control, client):
    control.set_flags({"service.config_validation": "off"})
    bad = orders.set(max_page="many")
    eventually(lambda: orders.runs_with(bad))
    failed = orders.failed()
    assert [client.get(HISTORY).status for _ in range(5)] == [500] * 5
    assert orders.failed() == failed + 5
    assert client.get("/api/orders/7").status == 200
    mended = orders.set(max_page=4)
    eventually(lambda: orders.runs_with(mended))
    assert orders.page() == 4


def test_validation_switched_on_ends_a_bad_document_that_is_in_force(orders, control, client):
    control.set_flags({"service.config_validation": "off"})
    bad = orders.set(max_page=-5)
    eventually(lambda: orders.runs_with(bad))
    assert client.get(HISTORY).status == 500
    control.set_flags({"service.config_validation": "on"})
    assert orders.page() > 2


def test_max_lines_limits_an_order(orders, client):
    lines = [{"product_id": 5, "quantity": 1}, {"product_id": 6, "quantity": 1}]
    revision = orders.set(max_lines=1)
    eventually(lambda: orders.runs_with(revision))
    refused = client.post("/api/orders", {"user_id": 7, "lines": lines})
    assert (refused.status, refused.json["errors"][0]["field"]) == (422, "lines")
    assert client.post("/api/orders", {"user_id": 7, "lines": lines[:1]}).status == 201


def test_costlab_config_sets_shows_and_resets_a_document(orders, stack, monkeypatch):
    """As a person at the command line."""
    monkeypatch.setattr("costlab.cli.config.open_stack", lambda target: stack)

    def run(*arguments: str):
        return CliRunner().invoke(application(), ["config", *arguments])

    assert "told at once" in run("set", "orders.max_page=6", "orders.max_lines=9").output
    eventually(lambda: orders.page() == 6)
    shown = json.loads(run("get", "--json").output)["orders"]
    assert {field["name"]: field["value"] for field in shown["fields"]} == {"max_page": 6, "max_lines": 9}
    assert set(shown["processes"]) == {shown["revision"]}
    assert f"orders: revision {shown['revision']}, in " in run("get").output
    assert "max_page: " in str(run("set", "orders.max_page=many").exception)
    assert "SERVICE.FIELD" in str(run("set", "nobody.max_page=3").exception)
    run("reset")
    eventually(lambda: orders.page() > 6)

"""How an instance goes, and what that costs those whose requests it has in hand."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner

from costlab.cli import app
from tests.conditions import eventually
from tests.e2e.conftest import Client
from tests.e2e.test_effects import total
from tests.e2e.test_effects_probe import readiness

pytestmark = pytest.mark.timeout(300)
ASKED = 4


@pytest.fixture
def restarted(stack, control, client):
    """What becomes of requests that wait in users, a second of work each and one after the other, when it restarts."""

    def outcomes() -> Counter:
        control.set_flags({"users.slots": 1, "users.slot_ms": 1000})
        with ThreadPoolExecutor(ASKED) as clients:
            asked = [clients.submit(client.get, "/api/users/7") for _ in range(ASKED)]
            eventually(lambda: total(control, "users", "costlab_slots_in_use") == 1)
            stack.restart("users")
            return Counter(one.result().status for one in asked)

    return outcomes


def test_kill_cuts_the_requests_under_way(control, restarted):
    """ "service.shutdown": nobody is asked whether he is done; the gateway has no answer to hand on."""
    control.set_flags({"service.shutdown": "kill"})
    found = restarted()
    assert set(found) <= {200, 502}
    assert found[502] >= 1


def test_term_cuts_what_takes_longer_than_a_second(control, restarted):
    control.set_flags({"service.shutdown": "term"})
    found = restarted()
    assert set(found) <= {200, 502}
    assert found[502] >= 1


def test_drain_finishes_the_requests_under_way(restarted):
    assert restarted() == {200: ASKED}


def test_a_draining_instance_is_not_ready_but_still_answers_and_closes_its_connections(stack, control, client):
    """Those who probe see it before anybody is refused."""
    control.set_flags({"users.slots": 1, "users.slot_ms": 1000})
    with ThreadPoolExecutor(1) as clients:
        held = clients.submit(client.get, "/api/users/7")
        eventually(lambda: total(control, "users", "costlab_slots_in_use") == 1)
        users = Client(stack.internal_urls()["users"])
        restarting = threading.Thread(target=stack.restart, args=["users"])
        restarting.start()
        eventually(lambda: readiness(stack, "users")[0] == 503)
        status, document = readiness(stack, "users")
        alive = users.get("/livez")
        restarting.join()
        assert held.result().status == 200
    assert (status, document["checks"]["shutdown"]) == (503, "This replica is leaving.")
    assert (alive.status, alive.headers["Connection"]) == (200, "close")
    eventually(lambda: readiness(stack, "users")[0] == 200)


def test_costlab_restart_restarts_one_instance_after_the_other(stack, monkeypatch):
    """As a person at the command line."""
    monkeypatch.setattr("costlab.cli.stack.open_stack", lambda target: stack)

    def pids() -> dict[str, int]:
        return {row.name: row.pid for row in stack.status()}

    before = pids()
    done = CliRunner().invoke(app, ["restart", "users", "--rolling"])
    assert done.output == "users: restarted, ready\n"
    after = pids()
    assert {name for name in before if before[name] != after[name]} == {"users"}
    assert "no service 'nobody'" in str(CliRunner().invoke(app, ["restart", "nobody"]).exception)

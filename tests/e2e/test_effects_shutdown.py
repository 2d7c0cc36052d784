"""How an instance goes, and what that costs those whose requests it has in hand."""

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from costlab.cli import application
from costlab.stack import restarting
from tests.conditions import eventually
from tests.e2e.conftest import Client
from tests.e2e.test_effects import total
from tests.e2e.test_effects_probe import readiness
from tests.e2e.test_effects_worker import STREAM, Worker

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
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
        restart = threading.Thread(target=stack.restart, args=["users"])
        restart.start()
        eventually(lambda: readiness(stack, "users")[0] == 503)
        status, document = readiness(stack, "users")
        alive = users.get("/livez")
        restart.join()
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
    done = CliRunner().invoke(application(), ["restart", "users", "--rolling"])
    assert done.output == "users: restarted, ready\n"
    after = pids()
    assert {name for name in before if before[name] != after[name]} == {"users"}
    assert "no service 'nobody'" in str(CliRunner().invoke(application(), ["restart", "nobody"]).exception)


@contextmanager
def steady_sign_ups(client: Client) -> Iterator[Counter]:
    """Six people sign up one user after the other; what they were answered, complete after the block.

    They POST: a request that only reads would be sent again elsewhere when its connection breaks.
    """
    answers: Counter = Counter()
    stopped = threading.Event()

    def sign_up() -> None:
        while not stopped.is_set():
            user = {"name": "Ada", "email": f"{uuid.uuid4().hex}@example.com"}
            answers[client.post("/api/users", user).status] += 1

    people = [threading.Thread(target=sign_up) for _ in range(6)]
    for person in people:
        person.start()
    try:
        eventually(lambda: answers[201] >= len(people), within=30)
        yield answers
    finally:
        stopped.set()
        for person in people:
            person.join()


def test_a_rolling_restart_that_drains_loses_no_request(replicated_stack, replicated_control, replicated_client):
    """Three instances, one after the other, with requests of 300 ms under way in each the whole time."""
    replicated_control.set_flags({"users.slots": 6, "users.slot_ms": 300})
    reported: list[str] = []
    with steady_sign_ups(replicated_client) as answers:
        restarting.restart(replicated_stack, "users", True, reported.append)
    assert reported == [f"{name}: restarted, ready" for name in ("users", "users-2", "users-3")]
    assert set(answers) == {201}, answers


def test_an_instance_that_is_killed_loses_what_it_had_in_hand(replicated_stack, replicated_control, replicated_client):
    replicated_control.set_flags({"users.slots": 6, "users.slot_ms": 300, "service.shutdown": "kill"})
    with steady_sign_ups(replicated_client) as answers:
        replicated_stack.restart("users-2")
    assert set(answers) == {201, 502}
    assert answers[502] <= 6


@pytest.fixture
def worker(stack, control):
    """A worker of one consumer, without a job."""
    seen = Worker(stack, control)
    with seen.redis:
        eventually(lambda: seen.redis.xlen(STREAM) == 0, within=30)
        seen.have("serial", 1)
        yield seen


def send_and_restart(stack, worker: Worker) -> None:
    """Restart the worker in the middle of a job of a second."""
    worker.send(1, wait_ms=1000)
    eventually(lambda: worker.redis.xpending(STREAM, "worker")["pending"] == 1)
    stack.restart("worker")


def test_a_worker_that_drains_finishes_its_job(stack, worker):
    send_and_restart(stack, worker)
    assert worker.redis.xlen(STREAM) == 0
    assert worker.total("costlab_jobs_claimed_total") == 0


def test_the_job_of_a_worker_that_is_killed_is_taken_over_and_done_once(stack, control, worker):
    control.set_flags({"service.shutdown": "kill"})
    send_and_restart(stack, worker)
    eventually(lambda: worker.redis.xlen(STREAM) == 0, within=30)
    assert worker.total("costlab_jobs_claimed_total") == 1
    assert worker.outcomes() == (1, 0)

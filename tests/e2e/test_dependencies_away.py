"""Redis and PostgreSQL taken away under traffic, whatever mechanisms are active: every flag at each of its values."""

import signal
import threading
import time
import uuid
from itertools import cycle

import pytest

from costlab.service.flags import Registry
from tests.conditions import eventually
from tests.e2e.orders import one
from tests.e2e.test_effects import paused

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("control")]

DEADLINE = 1.5
# Between the last moment at which a service gives up and the answer's arrival here, on a busy machine.
SLACK = 2.5
AWAY_SECONDS = 2.0
# How long a client waits for a service where no deadline does.
CLIENT_SECONDS = 5.0
CALLERS = 4
# Answers of whoever does without what is away: those of the flag, and what cannot be done in time.
ANSWERS = {200, 201, 404, 409, 429, 502, 503, 504}
# What is never right whoever is away (v2 gone wrong), takes a restart, or is so slow that nothing else would be seen.
NOT_HERE = {"users.version", "profiling"}
# Numbers that make a mechanism bite, and words that switch one on.
NUMBERS = {
    "users.slots": ["off", 8],
    "orders.slots": ["off", 8],
    "users.slot_ms": [1],
    "orders.slot_ms": [1],
    "cache.negative_ttl": [0, 5],
    "db.pool": [4, "none", 1],
    "http.attempt_timeout": ["none", 1],
    "http.retry_budget": ["off", 0.2],
    "tracing.sample": [0, 1],
    "gateway.rate_limit_burst": [100000],
    "gateway.rate_limit_rate": [100000],
    "worker.batch": [1, 20],
    "worker.prefetch": [1, 20],
}


ORDER = "POST /api/orders"
WAYS = ("/api/users/7", ORDER, "/api/users/7/orders", "/api/products/3", "/api/users/999999999")


def values() -> dict[str, tuple]:
    """What each live flag is set to here, one after the other."""
    live = [flag for flag in Registry.load() if flag.kind == "live" and flag.name not in NOT_HERE]
    return {flag.name: tuple(NUMBERS.get(flag.name, flag.values or (flag.default,))) for flag in live}


ROWS = max(len(among) for among in values().values())


def row(number: int) -> dict[str, object]:
    """The values of row ``number``: over all rows each flag takes each of its values."""
    return {name: among[number % len(among)] for name, among in values().items()}


class Caller(threading.Thread):
    """Asks for one thing after the other until told to stop, and notes status and seconds of each answer."""

    def __init__(self, client, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._stop_asking = stop
        self.answers: list[tuple[str, int, float]] = []
        self.accepted: list[int] = []

    def run(self) -> None:
        ways = cycle(WAYS)
        while not self._stop_asking.is_set():
            way = next(ways)
            started = time.monotonic()
            reply = ask(self._client, way)
            self.answers.append((way, reply.status, time.monotonic() - started))
            if (way, reply.status) == (ORDER, 201):
                self.accepted.append(reply.json["id"])


def ask(client, way: str):
    """The answer to one of WAYS, from a caller who waits ``DEADLINE`` seconds."""
    headers = {"X-Request-Timeout-Ms": str(int(DEADLINE * 1000))}
    if way != ORDER:
        return client.get(way, **headers)
    body = {"user_id": 7, "lines": [{"product_id": 5, "quantity": 1}]}
    return client.post("/api/orders", body, **{"Idempotency-Key": uuid.uuid4().hex}, **headers)


def well(client) -> bool:
    """Whether every way is answered as on a stack that lacks nothing."""
    return all(ask(client, way).status in (200, 201, 404) for way in WAYS)


def take_away(stack, dependency: str, killed: bool) -> None:
    """Killed, it starts again by itself; else it stands still for AWAY_SECONDS."""
    if killed:
        stack.kill(dependency, signal.SIGKILL)
        time.sleep(AWAY_SECONDS)
    else:
        with paused(stack, dependency):
            time.sleep(AWAY_SECONDS)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("dependency", ["redis", "postgres"])
@pytest.mark.parametrize("number", range(ROWS))
def test_without_a_dependency_nobody_hangs_and_all_is_well_once_it_is_back(stack, control, client, number, dependency):
    """Answered in time with what the flags say or 5xx, not one 500; then well by itself, and no accepted order lost."""
    flags = row(number)
    control.set_flags(flags)
    eventually(lambda: well(client), within=30)
    stop = threading.Event()
    callers = [Caller(client, stop) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    take_away(stack, dependency, killed=(number + (dependency == "redis")) % 2 == 1)
    stop.set()
    for caller in callers:
        caller.join(30)
        assert not caller.is_alive()
    answers = [answer for caller in callers for answer in caller.answers]
    longest = DEADLINE if flags["http.deadline"] == "on" else AWAY_SECONDS + CLIENT_SECONDS
    assert [answer for answer in answers if answer[1] not in ANSWERS or answer[2] > longest + SLACK] == []
    eventually(lambda: well(client), within=40)
    accepted = [order for caller in callers for order in caller.accepted]
    assert one(stack, "select count(*) from orders.orders where id = any(%s)", accepted) == len(accepted)
    # A message that is written after the commit can be lost: that is what dual_write is here to show.
    if flags["orders.publish"] == "outbox":
        done = "select count(*) from worker.fulfilments where order_id = any(%s)"
        eventually(lambda: one(stack, done, accepted) == len(accepted), within=40)

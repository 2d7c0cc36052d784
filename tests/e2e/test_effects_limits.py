"""Rate limits on the running stack: every algorithm, its edges, its headers, and Redis taken away."""

import math
import signal
import time

import pytest
from redis import Redis

from costlab.stack.control import Control, ControlError
from tests.conditions import eventually
from tests.e2e.test_effects import paused, total

pytestmark = pytest.mark.usefixtures("control")

ALGORITHMS = ("fixed_window", "sliding_window", "sliding_log", "token_bucket", "gcra")
# Slow enough that nothing comes back while a test runs: 4 requests per 40 s.
FOUR = {"gateway.rate_limit_rate": 0.1, "gateway.rate_limit_burst": 4}
WINDOW = 40.0


def limit(control: Control, algorithm: str, **changes: object) -> None:
    control.set_flags({"gateway.rate_limit": algorithm, **FOUR, **changes})
    # Windows begin at whole multiples of 40 s; what follows shall fall into one.
    eventually(lambda: WINDOW - time.time() % WINDOW > 6, within=10)


def statuses(client, count: int, key: str, path: str = "/api/users/15") -> list[int]:
    return [client.get(path, **{"X-Api-Key": key}).status for _ in range(count)]


def decided(control: Control, outcome: str) -> float:
    return total(control, "gateway", "costlab_rate_limit_decisions_total", outcome=outcome)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_admits_the_burst_and_says_when_to_come_back(control, client, algorithm):
    """ "gateway.rate_limit": the counts of admitted and refused requests are exact, and seen in the metrics."""
    limit(control, algorithm)
    admitted, refused = decided(control, "admitted"), decided(control, "refused")
    replies = [client.get("/api/users/15") for _ in range(6)]
    assert [reply.status for reply in replies] == [200] * 4 + [429] * 2
    assert [reply.headers["RateLimit-Policy"] for reply in replies] == [f'"{algorithm}";q=4;w=40'] * 6
    left = [reply.headers["RateLimit"].partition(";t=")[0] for reply in replies]
    assert left == [f'"{algorithm}";r={count}' for count in (3, 2, 1, 0, 0, 0)]
    assert 1 <= int(replies[-1].headers["Retry-After"]) <= (80 if algorithm == "sliding_window" else 40)
    assert (decided(control, "admitted"), decided(control, "refused")) == (admitted + 4, refused + 2)
    control.set_flags({"gateway.rate_limit": None})
    reply = client.get("/api/users/15")
    assert (reply.status, reply.headers["RateLimit"]) == (200, None)


def test_switched_live_each_algorithm_counts_for_itself(control, client):
    limit(control, "token_bucket", **{"gateway.rate_limit_burst": 3})
    assert statuses(client, 4, "demo") == [200] * 3 + [429]
    limit(control, "gcra", **{"gateway.rate_limit_burst": 3})
    assert statuses(client, 4, "demo") == [200] * 3 + [429]
    limit(control, "token_bucket", **{"gateway.rate_limit_burst": 3})
    assert statuses(client, 1, "demo") == [429]


def test_around_an_edge_a_fixed_window_admits_twice_its_limit_and_a_sliding_one_does_not(stack, control, client):
    """10 per 2 s, sent just before the edge and just after, by the clock of Redis, which counts."""
    quota = {"gateway.rate_limit_rate": 5, "gateway.rate_limit_burst": 10}
    with Redis.from_url(stack.redis_url()) as redis:
        control.set_flags({"gateway.rate_limit": "fixed_window", **quota})
        assert admitted_around_an_edge(redis, client) == 20
        control.set_flags({"gateway.rate_limit": "sliding_window", **quota})
        assert admitted_around_an_edge(redis, client) <= 13


def admitted_around_an_edge(redis: Redis, client) -> int:
    """Of 10 requests at the end of a window and 10 at the beginning of the next; another edge if one was missed."""
    while True:
        edge = 2 * math.ceil(clock_of(redis) / 2 + 0.25)
        eventually(lambda edge=edge: clock_of(redis) > edge - 0.4)
        before, done = statuses(client, 10, "batch"), clock_of(redis)
        eventually(lambda edge=edge: clock_of(redis) > edge)
        after = statuses(client, 10, "batch")
        if done < edge and clock_of(redis) < edge + 0.6:
            return (before + after).count(200)


def clock_of(redis: Redis) -> float:
    seconds, microseconds = redis.time()
    return seconds + microseconds / 1e6


def test_gateway_rate_limit_key_gives_each_route_a_limit_of_its_own(control, client):
    """ "gateway.rate_limit_key": off one route's limit, another is still open; per client it is not."""
    limit(control, "sliding_log", **{"gateway.rate_limit_key": "client_route"})
    assert statuses(client, 5, "batch") == [200] * 4 + [429]
    assert statuses(client, 5, "batch", "/api/products/1") == [200] * 4 + [429]
    limit(control, "sliding_log", **{"gateway.rate_limit_key": None})
    assert statuses(client, 4, "batch") == [200] * 4
    assert statuses(client, 1, "batch", "/api/products/1") == [429]


def test_redis_paused_requests_pass_unlimited_or_none_passes_as_the_flag_says(stack, control, client):
    """ "gateway.rate_limit_redis_away": open, all are answered and counted as unlimited; closed, 503 at once."""
    gateway_only = Control({"gateway": stack.internal_urls()["gateway"]}, stack.token())
    # A limit that no other test of this stack has counted against: what was spent there comes back only in a minute.
    limit(control, "gcra", **{"gateway.rate_limit_burst": 8})
    unlimited, unavailable = decided(control, "unlimited"), decided(control, "unavailable")
    assert statuses(client, 9, "demo") == [200] * 8 + [429]
    with paused(stack, "redis"):
        started = time.monotonic()
        assert statuses(client, 10, "demo") == [200] * 10
        assert time.monotonic() - started < 8
        assert decided(gateway_only, "unlimited") == unlimited + 10
    eventually(lambda: statuses(client, 1, "demo") == [429], within=10)

    limit(control, "gcra", **{"gateway.rate_limit_burst": 6, "gateway.rate_limit_redis_away": "closed"})
    assert statuses(client, 1, "demo") == [200]
    with paused(stack, "redis"):
        replies = [client.get("/api/users/15") for _ in range(10)]
        assert [reply.status for reply in replies] == [503] * 10
        assert [reply.headers["Retry-After"] for reply in replies] == ["1"] * 10
        assert replies[0].json["status"] == 503
        assert decided(gateway_only, "unavailable") == unavailable + 10
    eventually(lambda: statuses(client, 1, "demo") != [503], within=10)


@pytest.mark.parametrize("away", ["open", "closed"])
def test_redis_killed_the_limit_is_back_by_itself(stack, control, client, away):
    """While it restarts requests are answered as the flag says; then the limit holds again, nothing restarted."""
    limit(control, "token_bucket", **{"gateway.rate_limit_burst": 7, "gateway.rate_limit_redis_away": away})
    client.get("/api/users/15")
    stack.kill("redis", signal.SIGKILL)
    seen = set()
    deadline = time.monotonic() + 30
    while 429 not in seen:
        assert time.monotonic() < deadline
        seen |= set(statuses(client, 1, "demo"))
    assert seen <= {200, 429} | ({503} if away == "closed" else set())
    eventually(lambda: _flags_can_be_set(control), within=20)


def _flags_can_be_set(control: Control) -> bool:
    """Redis is back for every service, not only for the gateway; the tests that follow count on it."""
    try:
        control.set_flags({"gateway.rate_limit": None})
    except ControlError:
        return False
    return True

"""Every flag has its effect on the running stack: set it, see the change from outside, reset it, see it go."""

import contextlib
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from costlab.stack.control import Control, ControlError
from tests.conditions import eventually

pytestmark = pytest.mark.usefixtures("control")


def gunicorn(stack, service: str) -> psutil.Process | None:
    """The master of a service's processes, which in a container is the child of its init; None while there is none."""
    pid = next(row.pid for row in stack.status() if row.name == service)
    try:
        first = psutil.Process(pid) if pid else None
        return next(iter(first.children()), None) if first and first.name() in ("docker-init", "tini") else first
    except psutil.NoSuchProcess:
        return None


def total(control: Control, service: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry ``labels``."""
    return sum(
        value for sample, found, value in control.metrics(service) if sample == name and labels.items() <= found.items()
    )


def cache_status(reply) -> str:
    return reply.headers.get("Cache-Status", "")


def test_gateway_reads_sends_gets_through_the_cache_proxy_or_not(control, client):
    """ "gateway.reads": only answers that came through the cache-proxy carry Cache-Status."""
    assert cache_status(client.get("/api/users/11")) == ""
    control.set_flags({"gateway.reads": "cache_proxy"})
    assert cache_status(client.get("/api/users/11")) != ""
    control.set_flags({"gateway.reads": None})
    assert cache_status(client.get("/api/users/11")) == ""


def test_cache_strategy_ttl_answers_the_second_get_from_redis(control, client):
    control.set_flags({"gateway.reads": "cache_proxy", "cache.strategy": "ttl"})
    # A Redis that was late once is left alone for a second.
    eventually(lambda: "redis-away" not in cache_status(client.get("/api/users/11")))
    first, second = client.get("/api/users/12"), client.get("/api/users/12")
    assert "hit" in cache_status(second)
    assert "hit" not in cache_status(first)
    assert first.body == second.body
    control.set_flags({"cache.strategy": None})
    assert "hit" not in cache_status(client.get("/api/users/12"))


def test_a_cache_hit_asks_the_origin_nothing(control, client):
    control.set_flags({"gateway.reads": "cache_proxy", "cache.strategy": "ttl"})
    client.get("/api/users/13")
    before = total(control, "users", "http_server_request_duration_seconds_count", http_route="/users/<int:user_id>")
    for _ in range(10):
        assert client.get("/api/users/13").status == 200
    after = total(control, "users", "http_server_request_duration_seconds_count", http_route="/users/<int:user_id>")
    assert after == before


def test_cache_ttl_bounds_how_old_an_answer_may_be(control, client):
    control.set_flags({"gateway.reads": "cache_proxy", "cache.strategy": "ttl", "cache.ttl": 0.3})
    client.get("/api/users/14")
    assert "hit" in cache_status(client.get("/api/users/14"))
    eventually(lambda: "hit" not in cache_status(client.get("/api/users/14")), within=3)


def test_gateway_rate_limit_refuses_what_is_over_the_rate(control, client):
    """ "gateway.rate_limit", "gateway.rate_limit_rate" and "gateway.rate_limit_burst" together."""
    control.set_flags({"gateway.rate_limit": "gcra", "gateway.rate_limit_rate": 0.1, "gateway.rate_limit_burst": 5})
    replies = [client.get("/api/users/15") for _ in range(8)]
    assert [reply.status for reply in replies] == [200] * 5 + [429] * 3
    assert int(replies[-1].headers["Retry-After"]) >= 1
    control.set_flags({"gateway.rate_limit": None})
    assert client.get("/api/users/15").status == 200


def test_a_larger_burst_admits_more_at_once(control, client):
    control.set_flags({"gateway.rate_limit": "gcra", "gateway.rate_limit_rate": 0.1, "gateway.rate_limit_burst": 20})
    statuses = [client.get("/api/users/15", **{"X-Api-Key": "batch"}).status for _ in range(21)]
    assert statuses.count(200) == 20


def test_a_higher_rate_refills_sooner(control, client):
    control.set_flags({"gateway.rate_limit": "gcra", "gateway.rate_limit_rate": 1000, "gateway.rate_limit_burst": 1})
    eventually(lambda: client.get("/api/users/15", **{"X-Api-Key": "batch"}).status == 200)
    eventually(lambda: client.get("/api/users/15", **{"X-Api-Key": "batch"}).status == 200)


def test_orders_user_lookup_goes_through_the_cache_proxy_or_not(control, client):
    """ "orders.user_lookup": the cache-proxy sees the lookup of a placed order only when told to."""

    def lookups() -> float:
        return total(control, "cache-proxy", "costlab_cache_requests_total")

    def place():
        assert client.post("/api/orders", {"user_id": 16, "lines": [{"product_id": 1, "quantity": 1}]}).status == 201

    before = lookups()
    place()
    assert lookups() == before
    control.set_flags({"orders.user_lookup": "cache_proxy"})
    place()
    assert lookups() == before + 1


def test_db_pool_none_opens_a_connection_per_transaction(control, client):
    """ "db.pool": connections opened per request is one without a pool and none with one."""

    def opened() -> float:
        return total(control, "users", "costlab_connections_opened_total", peer="postgres")

    client.get("/api/users/17")
    before = opened()
    for user in range(20, 30):
        client.get(f"/api/users/{user}")
    assert opened() == before
    control.set_flags({"db.pool": "none"})
    before = opened()
    for user in range(20, 30):
        client.get(f"/api/users/{user}")
    assert opened() >= before + 10  # a health check that falls in between opens one more


def test_db_pool_of_one_makes_requests_wait_for_each_other(control, client):
    def waits() -> float:
        return total(control, "users", "costlab_connection_wait_seconds_count", peer="postgres")

    control.set_flags({"db.pool": 1})
    before = waits()
    deadline = time.monotonic() + 20
    with ThreadPoolExecutor(8) as pool:
        while waits() == before:
            assert time.monotonic() < deadline
            list(pool.map(lambda user: client.get(f"/api/users/{user}"), range(1, 65)))


def test_http_breaker_stops_calling_a_service_that_is_gone(stack, control, client):
    """ "http.breaker": off, every request waits for its deadline (504); on, they are soon refused at once (503)."""

    def ask() -> int:
        return client.get("/api/users/18", **{"X-Request-Timeout-Ms": "100"}).status

    def refused() -> float:
        return total(control, "gateway", "costlab_breaker_refused_total", upstream="users")

    with paused(stack, "users"):
        assert {ask() for _ in range(8)} == {504}
        assert refused() == 0
        # The paused service cannot say that it has the flag, so only the gateway is asked.
        Control({"gateway": stack.internal_urls()["gateway"]}, stack.token()).set_flags({"http.breaker": "breaker"})
        eventually(lambda: ask() == 503)
        assert refused() > 0
    eventually(lambda: client.get("/api/users/18").status == 200, within=20)


def test_tracing_sample_decides_how_many_requests_make_spans(control, client):
    """ "tracing.sample": no spans at 0; at 1 every service on the path makes some."""

    def spans(service: str) -> float:
        return total(control, service, "costlab_spans_started_total")

    before = {service: spans(service) for service in ("gateway", "users")}
    client.get("/api/users/19")
    assert {service: spans(service) for service in before} == before
    control.set_flags({"tracing.sample": 1})
    client.get("/api/users/19")
    assert all(spans(service) > before[service] for service in before)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cache.strategie": "ttl"}, "there is no flag 'cache.strategie'"),
        ({"cache.strategy": "forever"}, "allowed: off, ttl"),
        ({"db.pool": 0}, "allowed: 1 to 64"),
    ],
)
def test_a_wrong_name_or_value_is_refused_with_what_is_allowed(control, changes, says):
    before = control.flags()
    with pytest.raises(ControlError, match=says):
        control.set_flags(changes)
    assert control.flags() == before


def test_a_change_is_in_force_everywhere_in_under_a_second(control):
    """The fastest of a few: the others may have met whatever else the machine does."""

    def seconds(value: int) -> float:
        started = time.monotonic()
        control.set_flags({"cache.ttl": value})
        return time.monotonic() - started

    assert min(map(seconds, range(11, 21))) < 1


@contextlib.contextmanager
def paused(stack, service: str):
    """A service whose processes stand still for the length of the block."""
    stack.kill(service, signal.SIGSTOP)
    try:
        yield
    finally:
        stack.kill(service, signal.SIGCONT)

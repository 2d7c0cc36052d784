"""Every flag of the HTTP client has its effect on the running stack, seen at the gateway and the service it calls."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from costlab.stack.control import Control
from tests.conditions import eventually
from tests.e2e.test_effects import paused, total

pytestmark = pytest.mark.usefixtures("control")


def opened(control) -> float:
    """Connections the gateway has opened to users."""
    return total(control, "gateway", "costlab_connections_opened_total", peer="users")


def test_http_reuse_per_call_opens_a_connection_for_each_request(control, client):
    """ "http.reuse": ten requests open ten connections per call, and none while connections are pooled."""

    def ask() -> float:
        before = opened(control)
        for user in range(1, 11):
            assert client.get(f"/api/users/{user}").status == 200
        return opened(control) - before

    ask()
    assert ask() == 0
    control.set_flags({"http.reuse": "per_call"})
    assert ask() == 10
    control.set_flags({"http.reuse": None})
    ask()
    assert ask() == 0


def test_http_pool_size_of_one_makes_calls_wait_for_each_other(control, client):
    """ "http.pool_size": with one connection to users, requests at once wait; with the default none does."""

    def waits() -> float:
        return total(control, "gateway", "costlab_connection_wait_seconds_count", peer="users")

    def ask_at_once() -> float:
        before = waits()
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda user: client.get(f"/api/users/{user}"), range(1, 33)))
        assert {reply.status for reply in replies} == {200}
        return waits() - before

    assert ask_at_once() == 0
    control.set_flags({"http.pool_size": 1})
    eventually(lambda: ask_at_once() > 0, within=20)
    control.set_flags({"http.pool_size": None})
    assert ask_at_once() == 0


@contextlib.contextmanager
def failing(stack):
    """users answers 500 at once for the length of the block: its table has another name."""
    with contextlib.closing(psycopg2.connect(stack.dsn("postgres"))) as link, link.cursor() as statements:
        link.autocommit = True
        statements.execute("alter table users.users rename to users_away")
        try:
            yield
        finally:
            statements.execute("alter table users.users_away rename to users")


def seen_by_users(control) -> float:
    """Requests that users has answered with 500."""
    return total(control, "users", "http_server_request_duration_seconds_count", http_response_status_code="500")


def test_http_retry_makes_a_failed_call_again(stack, control, client):
    """ "http.retry", "http.retry_attempts": one attempt while off, as many as allowed with every other value."""

    def attempts() -> float:
        before = seen_by_users(control)
        assert client.get("/api/users/1").status == 500
        return seen_by_users(control) - before

    def retried() -> float:
        return total(control, "gateway", "costlab_retries_total", upstream="users", outcome="retried")

    with failing(stack):
        assert attempts() == 1
        before = retried()
        for kind in ("immediate", "exponential", "equal_jitter", "full_jitter", "decorrelated_jitter"):
            control.set_flags({"http.retry": kind})
            assert attempts() == 3
        assert retried() - before == 10
        control.set_flags({"http.retry_attempts": 2})
        assert attempts() == 2
        control.set_flags({"http.retry": None, "http.retry_attempts": None})
        assert attempts() == 1


def test_a_post_is_not_retried_where_an_idempotency_key_is_not_heeded(stack, control, client):
    """Users makes every one it gets; orders, which heeds them, is the next test's."""

    def attempts(**headers: str) -> float:
        before = seen_by_users(control)
        assert client.post("/api/users", {"name": "A", "email": "a@example.com"}, **headers).status == 500
        return seen_by_users(control) - before

    with failing(stack):
        control.set_flags({"http.retry": "immediate"})
        assert attempts() == 1
        assert attempts(**{"Idempotency-Key": "test-http-retry"}) == 1


def test_the_outermost_service_that_can_retry_is_the_one_that_does(stack, control, client):
    """Without a key orders asks again for the user; with one the gateway sends the whole order again."""

    def attempts(**headers: str) -> float:
        before = seen_by_users(control)
        order = {"user_id": 1, "lines": [{"product_id": 1, "quantity": 1}]}
        assert client.post("/api/orders", order, **headers).status == 502
        return seen_by_users(control) - before

    def retried(service: str) -> float:
        return total(control, service, "costlab_retries_total", outcome="retried")

    with failing(stack):
        control.set_flags({"http.retry": "immediate"})
        before = retried("gateway"), retried("orders")
        assert attempts() == 3
        assert (retried("gateway"), retried("orders")) == (before[0], before[1] + 2)
        assert attempts(**{"Idempotency-Key": "outermost"}) == 3
        assert (retried("gateway"), retried("orders")) == (before[0] + 2, before[1] + 2)


def test_http_retry_layers_decides_whether_attempts_multiply(stack, control, client):
    """ "http.retry_layers": through gateway and cache-proxy 3 attempts while one of them retries, 9 when both do."""

    def attempts() -> float:
        before = seen_by_users(control)
        assert client.get("/api/users/2").status == 500
        return seen_by_users(control) - before

    with failing(stack):
        control.set_flags({"gateway.reads": "cache_proxy", "http.retry": "immediate"})
        assert attempts() == 3
        control.set_flags({"http.retry_layers": "every"})
        assert attempts() == 9
        control.set_flags({"http.retry_layers": None})
        assert attempts() == 3


def test_http_retry_budget_bounds_what_retries_add(stack, control, client):
    """ "http.retry_budget": when all fail, attempts are 3 for each request without, with it 1.1 and a burst of 10."""

    def attempts(requests: int) -> float:
        before = seen_by_users(control)
        assert {client.get("/api/users/4").status for _ in range(requests)} == {500}
        return seen_by_users(control) - before

    with failing(stack):
        control.set_flags({"http.retry": "immediate"})
        assert attempts(10) == 30
        control.set_flags({"http.retry_budget": 0.1})
        processes = control.flags("gateway")["service.processes"]  # each keeps a budget of its own
        assert attempts(50) <= 50 * 1.1 + 10 * processes
        assert total(control, "gateway", "costlab_retries_total", upstream="users", outcome="budget") > 0
        control.set_flags({"http.retry_budget": None})
        assert attempts(10) == 30


def test_http_breaker_client_throttle_refuses_what_would_fail(stack, control, client):
    """ "http.breaker_k": of calls that half of the time fail, k = 10 refuses none and k = 1 some."""

    def refused() -> float:
        return total(control, "gateway", "costlab_throttle_refused_total", upstream="users")

    def ask(path: str, times: int) -> list[int]:
        return [client.get(path).status for _ in range(times)]

    control.set_flags({"http.breaker": "client_throttle", "http.breaker_k": 10})
    assert set(ask("/api/users/5", 20)) == {200}
    with failing(stack):
        assert set(ask("/api/users/5", 20)) == {500}
        assert refused() == 0
        control.set_flags({"http.breaker_k": 1})
        assert 503 in ask("/api/users/5", 40)
        assert refused() > 0
    control.set_flags({"http.breaker": None})
    assert set(ask("/api/users/5", 5)) == {200}


def test_http_deadline_lets_a_caller_leave_in_time(stack, control, client):
    """ "http.deadline": on, a service that hangs costs the caller its deadline; off, it waits for the answer."""

    def ask() -> int:
        return client.get("/api/users/6", **{"X-Request-Timeout-Ms": "100"}).status

    with ThreadPoolExecutor(1) as caller:
        with paused(stack, "users"):
            assert ask() == 504
        control.set_flags({"http.deadline": "off"})
        with paused(stack, "users"):
            answer = caller.submit(ask)
            with pytest.raises(TimeoutError):
                answer.result(timeout=0.5)
        assert answer.result() == 200
    control.set_flags({"http.deadline": None})
    with paused(stack, "users"):
        assert ask() == 504


@contextlib.contextmanager
def overtaken(stack, product: int):
    """Another writer changes the row of a product between the read and the write of a reservation begun inside."""
    with contextlib.closing(psycopg2.connect(stack.dsn("postgres"))) as link, link.cursor() as statements:
        statements.execute("update orders.products set version = version + 1 where id = %s", [product])
        yield
        eventually(lambda: waiting_for_a_row(stack))
        link.commit()


def waiting_for_a_row(stack) -> int:
    """Statements of orders that wait for a lock."""
    with contextlib.closing(psycopg2.connect(stack.dsn("postgres"))) as link, link.cursor() as statements:
        statements.execute(
            "select count(*) from pg_stat_activity where usename = 'orders' and wait_event_type = 'Lock'"
        )
        return statements.fetchone()[0]


def test_orders_contention_decides_what_a_reservation_that_was_overtaken_does(stack, control, client):
    """ "orders.contention": off it is refused; with any backoff it tries again and succeeds."""

    def reserve_overtaken():
        with ThreadPoolExecutor(1) as caller:
            with overtaken(stack, 1):
                answer = caller.submit(client.post, "/api/stock/1/reserve", {"quantity": 0})
            return answer.result()

    def conflicts() -> float:
        return total(control, "orders", "costlab_stock_attempts_total", outcome="conflict")

    control.set_flags({"orders.contention": "off"})
    assert reserve_overtaken().status == 409
    before = conflicts()
    for kind in ("immediate", "exponential", "equal_jitter", "full_jitter", "decorrelated_jitter"):
        control.set_flags({"orders.contention": kind})
        reply = reserve_overtaken()
        assert (reply.status, reply.json["attempts"]) == (200, 2)
    assert conflicts() - before == 5
    control.set_flags({"orders.contention": None})
    assert client.post("/api/stock/1/reserve", {"quantity": 0}).json["attempts"] == 1


def test_http_attempt_timeout_leaves_time_for_a_retry(stack, control, client):
    """ "http.attempt_timeout": a service that hangs gets one attempt per deadline, or one per attempt's time."""

    def attempts() -> float:
        before = timed_out()
        assert client.get("/api/users/3", **{"X-Request-Timeout-Ms": "500"}).status == 504
        return timed_out() - before

    def timed_out() -> float:
        labels = {"upstream": "users", "outcome": "timeout"}
        return total(control, "gateway", "http_client_request_duration_seconds_count", **labels)

    control.set_flags({"http.retry": "immediate"})
    with paused(stack, "users"):
        assert attempts() == 1
        # The paused service cannot say that it has the flag, so only the gateway is asked.
        Control({"gateway": stack.internal_urls()["gateway"]}, stack.token()).set_flags({"http.attempt_timeout": 0.05})
        assert attempts() == 3

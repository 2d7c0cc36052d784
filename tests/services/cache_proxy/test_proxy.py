"""The running proxy: what it answers, from where, and what its headers say about it."""

import socket
import threading

import pytest
from prometheus_client import REGISTRY
from redis import Redis
from werkzeug import Response

from services.cache_proxy import cache_store
from services.cache_proxy.app import create_app
from services.cache_proxy.filling import ORIGIN_SECONDS
from services.cache_proxy.strategies import STRATEGIES
from tests.conditions import eventually
from tests.services.cache_proxy.conftest import counted, version
from tests.services.conftest import running


def requests(outcome):
    return REGISTRY.get_sample_value("costlab_cache_requests_total", {"outcome": outcome}) or 0


def test_the_first_get_is_a_miss_and_the_second_a_hit(stack):
    assert stack.status("/users/7") == "fwd=uri-miss; stored"
    assert stack.status("/users/7") == "hit; ttl=30"
    assert stack.origin.targets() == ["/users/7"]


def test_a_hit_is_the_same_answer(stack):
    stack.origin.answer = lambda request: version(1, ETag='"a"', X_Own="kept")
    miss, hit = stack.get("/users/7"), stack.get("/users/7")
    assert hit.data == miss.data
    assert (hit.content_type, hit.headers["ETag"], hit.headers["X-Own"]) == ("application/json", '"a"', "kept")


def test_age_and_what_is_left_of_the_lifetime_are_told(stack):
    assert "Age" not in stack.get("/users/7").headers
    stack.clock.forward(12.6)
    answer = stack.get("/users/7")
    assert answer.headers["Age"] == "12"
    assert answer.headers["Cache-Status"] == "costlab; hit; ttl=17"


def test_an_answer_is_never_served_beyond_its_lifetime(stack):
    stack.get("/users/7")
    stack.origin.answer = lambda request: version(2)
    stack.clock.forward(29.999)
    assert stack.version("/users/7") == 1
    stack.clock.forward(0.001)
    assert stack.status("/users/7") == "fwd=stale; stored"
    assert stack.version("/users/7") == 2


def test_redis_drops_an_answer_by_itself_when_nobody_asks_again(stack, server):
    stack.set(ttl=0.2)
    stack.get("/users/7")
    with Redis.from_url(server.url) as redis:
        assert redis.pttl("cache:entry:/users/7") <= 200
        eventually(lambda: not redis.exists("cache:entry:/users/7"))


def test_the_origins_own_max_age_shortens_the_lifetime(stack):
    stack.origin.answer = lambda request: version(1, Cache_Control="max-age=5")
    stack.get("/users/7")
    assert stack.status("/users/7") == "hit; ttl=5"
    stack.clock.forward(5)
    assert stack.status("/users/7") == "fwd=stale; stored"


@pytest.mark.parametrize("directive", ["no-store", "private", "max-age=0"])
def test_what_the_origin_keeps_to_itself_is_asked_every_time(stack, directive):
    stack.origin.answer = lambda request: version(1, Cache_Control=directive)
    stack.get("/users/7")
    stack.get("/users/7")
    assert len(stack.origin.asked) == 2


def test_an_answer_that_took_longer_than_it_may_live_is_not_stored(stack):
    def slow(request):
        stack.clock.forward(30)
        return version(1)

    stack.origin.answer = slow
    assert [stack.status("/users/7") for _ in range(2)] == ["fwd=uri-miss"] * 2


def test_age_counts_from_when_the_origin_was_asked(stack):
    """The origin may have read its state at the start of the two seconds it took."""

    def slow(request):
        stack.clock.forward(2)
        return version(1)

    stack.origin.answer = slow
    stack.get("/users/7")
    assert stack.get("/users/7").headers["Age"] == "2"
    assert stack.status("/users/7") == "hit; ttl=28"


def test_different_queries_are_different_answers_and_their_order_is_not(stack):
    stack.get("/users/7/orders?limit=5&after=9")
    assert stack.status("/users/7/orders?after=9&limit=5") == "hit; ttl=30"
    assert stack.status("/users/7/orders?after=9&limit=6") == "fwd=uri-miss; stored"
    assert stack.status("/users/7/orders") == "fwd=uri-miss; stored"


def test_with_off_every_get_goes_to_the_origin(stack):
    stack.set(strategy="off")
    assert [stack.status("/users/7") for _ in range(3)] == ["fwd=bypass"] * 3
    assert len(stack.origin.asked) == 3


def test_the_strategy_is_switched_while_it_runs(stack):
    stack.get("/users/7")
    assert stack.status("/users/7") == "hit; ttl=30"
    stack.set(strategy="off")
    assert stack.status("/users/7") == "fwd=bypass"
    stack.set(strategy="ttl")
    assert stack.status("/users/7") == "hit; ttl=30"


def test_what_changed_while_the_cache_was_off_is_not_served_when_it_is_on_again(stack):
    stack.get("/users/7")
    stack.set(strategy="off")
    stack.change(2, "/users/7")
    stack.set(strategy="ttl")
    assert stack.version("/users/7") == 2


def test_a_lowered_ttl_is_in_force_for_what_is_stored(stack):
    stack.get("/users/7")
    stack.clock.forward(3)
    stack.set(ttl=2)
    assert stack.status("/users/7") == "fwd=stale; stored"


@pytest.mark.parametrize("status", [400, 404, 422, 500, 503])
def test_the_origins_errors_are_passed_on_unchanged_and_not_kept(stack, status):
    document = b'{"title":"said by the origin"}'
    stack.origin.answer = lambda request: Response(document, status, content_type="application/problem+json")
    for _ in range(2):
        answer = stack.get("/users/7")
        assert (answer.status_code, answer.data) == (status, document)
        assert answer.content_type == "application/problem+json"
        assert answer.headers["Cache-Status"] == f"costlab; fwd=uri-miss; fwd-status={status}"
    assert len(stack.origin.asked) == 2


def test_a_request_with_credentials_goes_to_the_origin_with_them_and_leaves_nothing(stack):
    assert stack.status("/users/7", Authorization="Bearer x") == "fwd=bypass"
    assert stack.origin.asked[0].headers["Authorization"] == "Bearer x"
    assert stack.status("/users/7") == "fwd=uri-miss; stored"
    assert stack.status("/users/7", Authorization="Bearer x") == "fwd=bypass"


@pytest.mark.parametrize("strategy", [name for name, strategy in STRATEGIES.items() if strategy.looks])
def test_a_request_with_a_fault_of_its_own_goes_past_what_is_stored_and_leaves_nothing(stack, fault_at_users, strategy):
    stack.set(strategy=strategy)
    for _ in range(2):
        faulty = stack.get("/users/7", **fault_at_users)
        assert (faulty.status_code, faulty.headers["Cache-Status"]) == (418, "costlab; fwd=bypass")
        assert stack.get("/users/7").json == {"version": 1}
    assert len(stack.origin.asked) == 3
    assert stack.status("/users/7").startswith("hit")


@pytest.mark.parametrize("strategy", ["single_flight", "lease"])
@pytest.mark.parametrize("first", ["the faulty one", "the other one"])
def test_who_asks_at_the_same_time_as_a_request_with_a_fault_shares_nothing_with_it(
    stack, fault_at_users, strategy, first
):
    stack.set(strategy=strategy)
    stack.origin.gate.clear()
    waits = counted("lease_waits")
    given = [fault_at_users, {}] if first == "the faulty one" else [{}, fault_at_users]
    with stack.asking(1, "/users/7", **given[0]) as early:
        eventually(lambda: len(stack.origin.asked) == 1)
        with stack.asking(1, "/users/7", **given[1]) as late:
            eventually(lambda: len(stack.origin.asked) == 2)
    statuses = [418, 200] if first == "the faulty one" else [200, 418]
    assert [answer.status_code for answer in (*early, *late)] == statuses
    assert counted("lease_waits") == waits


def test_a_fill_says_nothing_of_the_client_whose_miss_it_is(stack):
    """The answer is for everybody, so it must not depend on who asked."""
    stack.get("/users/7", If_None_Match='"a"', Cookie="a=1", Accept="text/plain")
    sent = stack.origin.asked[0].headers
    assert {"If-None-Match", "Cookie", "Accept"} & set(sent.keys()) == set()


def test_a_client_cannot_push_its_way_through_to_the_origin(stack):
    stack.get("/users/7")
    assert stack.status("/users/7", Cache_Control="no-cache", Pragma="no-cache") == "hit; ttl=30"


def test_a_client_that_has_the_answer_gets_304_without_a_body(stack):
    stack.origin.answer = lambda request: version(1, ETag='"a"')
    stack.get("/users/7")
    answer = stack.get("/users/7", If_None_Match='"a"')
    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == '"a"'
    assert stack.get("/users/7", If_None_Match='"b"').status_code == 200


def test_head_is_answered_like_get_without_the_body(stack):
    full = stack.get("/users/7")
    head = stack.open("/users/7", "HEAD")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == str(len(full.data))
    assert head.headers["Cache-Status"] == "costlab; hit; ttl=30"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
def test_other_methods_are_refused_with_those_that_are_allowed(stack, method):
    answer = stack.open("/users/7", method)
    assert answer.status_code == 405
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Allow"] == "GET, HEAD"
    assert stack.origin.asked == []


def test_a_path_nobody_owns_is_404_without_asking_anybody(stack):
    answer = stack.get("/customers/7")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
    assert stack.origin.asked == []


def test_a_query_that_cannot_be_sent_is_400(stack):
    answer = stack.app.test_client().get("/users", environ_overrides={"QUERY_STRING": "ids=1 2"})
    assert answer.status_code == 400


def test_a_bug_is_a_problem_document_that_tells_nothing_of_the_inside(stack, monkeypatch):
    def bug(path, query):
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("services.cache_proxy.routes.target", bug)
    answer = stack.get("/users/7")
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert b"hunter2" not in answer.data


def test_requests_are_counted_by_outcome(stack):
    before = {outcome: requests(outcome) for outcome in ("hit", "miss", "bypass", "error")}
    stack.get("/users/7")
    stack.get("/users/7")
    stack.get("/users/7")
    stack.get("/users/7", Authorization="x")
    more = {outcome: requests(outcome) - before[outcome] for outcome in before}
    assert more == {"hit": 2, "miss": 1, "bypass": 1, "error": 0}


def test_a_hit_is_counted_under_its_route(stack):
    labels = {"http_request_method": "GET", "http_route": "/users/{id}/orders", "http_response_status_code": "200"}
    before = REGISTRY.get_sample_value("http_server_request_duration_seconds_count", labels) or 0
    stack.get("/users/7/orders")
    assert REGISTRY.get_sample_value("http_server_request_duration_seconds_count", labels) == before + 1


def test_an_origin_that_is_gone_is_502(server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        environment = {"REDIS_URL": server.url, "USERS_URL": nobody, "ORDERS_URL": nobody}
        with running(create_app, environment) as app:
            answer = app.test_client().get("/users/7")
    assert (answer.status_code, answer.content_type) == (502, "application/problem+json")


def test_an_origin_that_keeps_silent_is_504(stack):
    stack.origin.gate.clear()
    answer = stack.get("/users/7", X_Request_Timeout_Ms="100")
    stack.origin.gate.set()
    assert (answer.status_code, answer.content_type) == (504, "application/problem+json")


def test_a_hit_is_served_while_the_origin_is_away(stack):
    stack.get("/users/7")
    stack.origin.gate.clear()
    answer = stack.get("/users/7", X_Request_Timeout_Ms="100")
    stack.origin.gate.set()
    assert answer.status_code == 200


def test_bytes_in_redis_that_are_no_answer_are_a_miss(stack, server):
    stack.get("/users/7")
    with Redis.from_url(server.url) as redis:
        redis.set("cache:entry:/users/7", b"\x02 not ours", ex=100)
    assert stack.status("/users/7") == "fwd=uri-miss; stored"


def test_many_clients_at_once_get_their_own_answers(stack):
    stack.origin.answer = lambda request: version(int(request.path.rpartition("/")[2]))
    wrong = []

    def ask():
        for number in [*range(1, 40), *range(1, 40)]:
            if stack.version(f"/users/{number}") != number:
                wrong.append(number)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_connections_to_redis_are_kept(stack):
    def opened():
        return REGISTRY.get_sample_value("costlab_connections_opened_total", {"peer": "redis"})

    stack.get("/users/7")
    before = opened()
    for _ in range(20):
        stack.get("/users/7")
    assert opened() == before


def test_the_generation_outlives_the_longest_call_to_an_origin():
    assert cache_store.GENERATION_MILLISECONDS > 1000 * ORIGIN_SECONDS

"""Every flag of the cache has its effect on the running stack: set it, see the change, reset it, see it go."""

import re
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tests.conditions import eventually
from tests.e2e.test_effects import cache_status, total

pytestmark = pytest.mark.usefixtures("control")


def cached(control, flags: dict[str, object]) -> None:
    """Reads go through the cache-proxy, under these ``flags`` of the cache."""
    control.set_flags({"gateway.reads": "cache_proxy"} | flags)


def seconds_left(client, path: str) -> int:
    """What is left of the lifetime of an answer that was stored a moment ago."""
    client.get(path)
    return int(re.search(r"hit; ttl=(-?\d+)", cache_status(client.get(path)))[1])


def test_cache_strategy_ttl_jitter_gives_answers_different_lifetimes(control, client):
    cached(control, {"cache.strategy": "ttl_jitter", "cache.ttl": 3600})
    jittered = {seconds_left(client, f"/api/users/{user}") for user in range(101, 111)}
    assert len(jittered) > 5
    assert 3000 < min(jittered) < max(jittered) < 4200
    cached(control, {"cache.strategy": "ttl"})
    plain = [seconds_left(client, f"/api/users/{user}") for user in range(111, 121)]
    assert 3590 < min(plain) <= max(plain) < 3600


def origin_calls(control) -> float:
    """Calls that have reached the origin of /orders/stats, which takes its time (it adds up all orders)."""
    return total(control, "orders", "http_server_request_duration_seconds_count", http_route="/orders/stats")


def outcomes(control, outcome: str) -> float:
    return total(control, "cache-proxy", "costlab_cache_requests_total", outcome=outcome)


def at_once(client, path: str, count: int = 6) -> list:
    """The replies to ``count`` clients who ask at the same time."""
    together = threading.Barrier(count)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: (together.wait(), client.get(path))[1], range(count)))


def forget(stack, path: str) -> None:
    """Drop a cached answer, as if its time were over."""
    with Redis.from_url(stack.redis_url()) as redis:
        redis.delete(f"cache:entry:{path}")


def test_cache_strategy_single_flight_asks_the_origin_once_for_all_who_ask_at_once(stack, control, client):
    """ "cache.strategy": each expiry is one origin call per process; with ttl one per caller who asks too early."""
    cached(control, {"cache.strategy": "single_flight", "cache.ttl": 60})
    processes = control.flags("cache-proxy")["service.processes"]

    def one_call_for_all() -> bool:
        forget(stack, "/orders/stats")
        before = origin_calls(control), outcomes(control, "coalesced")
        replies = at_once(client, "/api/orders/stats")
        assert {reply.status for reply in replies} == {200}
        asked = origin_calls(control) - before[0]
        return asked <= processes and outcomes(control, "coalesced") == before[1] + 6 - asked

    eventually(one_call_for_all, within=20)
    cached(control, {"cache.strategy": "ttl"})
    forget(stack, "/orders/stats")
    before = outcomes(control, "coalesced")
    at_once(client, "/api/orders/stats")
    assert outcomes(control, "coalesced") == before


def test_cache_strategy_lease_lets_one_caller_ask_and_the_others_wait(stack, control, client):
    cached(control, {"cache.strategy": "lease", "cache.ttl": 60, "cache.stale_window": 0})

    def one_asks_and_five_wait() -> bool:
        forget(stack, "/orders/stats")
        before = origin_calls(control), waits(control)
        replies = at_once(client, "/api/orders/stats")
        assert {reply.status for reply in replies} == {200}
        return origin_calls(control) == before[0] + 1 and waits(control) == before[1] + 5

    eventually(one_asks_and_five_wait, within=20)
    cached(control, {"cache.strategy": "ttl"})
    forget(stack, "/orders/stats")
    before = waits(control)
    at_once(client, "/api/orders/stats")
    assert waits(control) == before


def waits(control) -> float:
    return total(control, "cache-proxy", "costlab_cache_lease_waits_total")


def test_cache_stale_window_lets_those_who_do_not_ask_have_the_old_answer(control, client):
    """ "cache.stale_window": within it nobody waits for whoever fills; without it somebody does."""

    def stale() -> float:
        return total(control, "cache-proxy", "costlab_cache_stale_served_total")

    cached(control, {"cache.strategy": "lease", "cache.ttl": 0.1, "cache.stale_window": 60})
    client.get("/api/orders/stats")

    def the_others_get_it_stale() -> bool:
        before = stale()
        at_once(client, "/api/orders/stats")
        return stale() > before

    eventually(the_others_get_it_stale, within=20)
    cached(control, {"cache.stale_window": 0})
    before = stale()
    at_once(client, "/api/orders/stats")
    assert stale() == before


def test_cache_strategy_xfetch_fetches_a_dear_answer_before_it_expires(control, client):
    """Reading without a pause, somebody draws an early fetch before the answer, which takes long to make, expires."""

    def early() -> float:
        return total(control, "cache-proxy", "costlab_cache_early_recomputations_total")

    cached(control, {"cache.strategy": "xfetch", "cache.ttl": 3})
    before = early()
    eventually(lambda: client.get("/api/orders/stats").status == 200 and early() > before, within=20)
    cached(control, {"cache.strategy": "ttl"})
    before = early()
    for _ in range(100):
        client.get("/api/orders/stats")
    assert early() == before


def test_cache_strategy_stale_while_revalidate_answers_at_once_and_refreshes_behind(control, client):
    cached(control, {"cache.strategy": "stale_while_revalidate", "cache.ttl": 0.1, "cache.stale_window": 60})

    def refreshes() -> float:
        return total(control, "cache-proxy", "costlab_cache_refreshes_total")

    before = refreshes()
    client.get("/api/orders/stats")
    eventually(lambda: "detail=stale" in cache_status(client.get("/api/orders/stats")), within=10)
    eventually(lambda: refreshes() > before, within=10)
    cached(control, {"cache.strategy": None})
    assert "fwd=bypass" in cache_status(client.get("/api/orders/stats"))


def test_cache_negative_ttl_keeps_that_there_is_no_such_user(control, client):
    """ "cache.negative_ttl": at 0 every question for what is not there reaches the origin."""

    def negative() -> float:
        return total(control, "cache-proxy", "costlab_cache_negative_hits_total")

    cached(control, {"cache.strategy": "ttl", "cache.negative_ttl": 60})
    before = negative()
    replies = [client.get("/api/users/999999999") for _ in range(3)]
    assert [reply.status for reply in replies] == [404] * 3
    assert ["hit" in cache_status(reply) for reply in replies] == [False, True, True]
    assert negative() == before + 2
    assert replies[2].json["request_id"] == replies[2].headers["X-Request-Id"]
    cached(control, {"cache.negative_ttl": None})
    assert "hit" not in cache_status(client.get("/api/users/999999999"))


def test_a_user_who_was_not_there_is_found_as_soon_as_there_is_one(control, client):
    cached(control, {"cache.strategy": "ttl", "cache.negative_ttl": 3600, "cache.ttl": 3600})
    newest = int(client.post("/api/users", new_user()).headers["Location"].rpartition("/")[2])
    assert client.get(f"/api/users/{newest + 1}").status == 404
    assert "hit" in cache_status(client.get(f"/api/users/{newest + 1}"))
    assert client.post("/api/users", new_user()).headers["Location"].endswith(f"/{newest + 1}")
    eventually(lambda: client.get(f"/api/users/{newest + 1}").status == 200)


def new_user() -> dict[str, str]:
    return {"name": "Ada", "email": f"{secrets.token_hex(8)}@example.org"}


def test_cache_eviction_makes_redis_count_how_often_an_answer_is_read(stack, control, client):
    """ "cache.eviction": Redis keeps a frequency under lfu only, and its policy follows the flag there and back."""
    with Redis.from_url(stack.redis_url()) as redis:
        cached(control, {"cache.strategy": "ttl", "cache.eviction": "lfu"})
        eventually(lambda: configured(redis, "maxmemory-policy") == "volatile-lfu")
        client.get("/api/users/131")
        assert redis.object("FREQ", "cache:entry:/users/131") > 0
        cached(control, {"cache.eviction": None})
        eventually(lambda: configured(redis, "maxmemory-policy") == "volatile-lru")
        with pytest.raises(ResponseError, match="LFU"):
            redis.object("FREQ", "cache:entry:/users/131")


def test_cache_maxmemory_mb_bounds_what_redis_keeps(stack, control):
    """ "cache.maxmemory_mb": what is over it is given up, and counted."""

    def evicted() -> float:
        return total(control, "cache-proxy", "costlab_cache_evicted_keys")

    with Redis.from_url(stack.redis_url()) as redis:
        used = redis.info("memory")["used_memory"] // 2**20 + 4
        cached(control, {"cache.maxmemory_mb": used})
        eventually(lambda: configured(redis, "maxmemory") == str(used * 2**20))
        before = evicted()
        for number in range(40):
            redis.set(f"cache:entry:/filling/{number}", b"x" * 200_000, ex=60)
        eventually(lambda: evicted() > before)
        cached(control, {"cache.maxmemory_mb": None})
        eventually(lambda: configured(redis, "maxmemory") == str(128 * 2**20))


def configured(redis: Redis, name: str) -> str:
    return redis.config_get(name)[name]

"""Eviction: Redis is configured as the flags say, by one process, also after a restart; and it makes a difference."""

import pytest
import yaml
from redis import Redis
from redis.exceptions import OutOfMemoryError

from costlab.service.flags import FlagStore, Registry
from services.cache_proxy.eviction import KEEPER, LEASE_MILLISECONDS, Eviction
from tests.conditions import eventually
from tests.structure.source import ROOT

HOT, COLD, SIZE = 200, 4000, 2000


@pytest.fixture
def keeper(redis, set_flags):
    """``keeper(**flags of the cache)``; Redis is put back afterwards."""
    before = redis.config_get("maxmemory-policy", "maxmemory")
    yield lambda **flags: Eviction(redis, set_flags(**{f"cache.{name}": value for name, value in flags.items()}))
    redis.config_set(*[part for setting in before.items() for part in setting])


def policy(redis):
    return redis.config_get("maxmemory-policy")["maxmemory-policy"]


@pytest.mark.parametrize(("flag", "expected"), [("lru", "volatile-lru"), ("lfu", "volatile-lfu")])
def test_the_flag_is_a_policy_of_redis(keeper, redis, flag, expected):
    assert keeper(eviction=flag, maxmemory_mb=64).keep()
    assert redis.config_get("maxmemory-policy", "maxmemory") == {
        "maxmemory-policy": expected,
        "maxmemory": str(64 * 2**20),
    }


def test_one_process_keeps_it_and_another_one_after_that_has_gone(keeper, redis):
    first, second = keeper(eviction="lfu"), keeper(eviction="lru")
    assert [first.keep(), second.keep(), first.keep()] == [True, False, True]
    assert policy(redis) == "volatile-lfu"
    assert 0 < redis.pttl(KEEPER) <= LEASE_MILLISECONDS
    redis.delete(KEEPER)  # its time is over
    assert [second.keep(), first.keep()] == [True, False]
    assert policy(redis) == "volatile-lru"


def test_what_is_so_already_is_left_alone(keeper, redis, monkeypatch):
    one = keeper(eviction="lfu")
    one.keep()
    monkeypatch.setattr(redis, "config_set", lambda *settings: pytest.fail(f"set again: {settings}"))
    assert one.keep()


@pytest.mark.parametrize(("flag", "survives"), [("lru", False), ("lfu", True)])
def test_what_is_read_often_survives_a_scan_under_lfu_and_not_under_lru(keeper, redis, flag, survives):
    keeper(eviction=flag, maxmemory_mb=4).keep()
    hot = [f"cache:entry:hot{number}" for number in range(HOT)]
    _store(redis, hot)
    for _ in range(40):
        redis.mget(hot)
    _store(redis, [f"cache:entry:cold{number}" for number in range(COLD)])
    left = redis.exists(*hot) / HOT
    assert left > 0.9 if survives else left < 0.5


def test_what_has_no_expiry_is_never_given_up(keeper, redis):
    redis.set("costlab:flags:revision", "1")
    keeper(eviction="lfu", maxmemory_mb=4).keep()
    _store(redis, [f"cache:entry:{number}" for number in range(COLD)])
    assert redis.info("stats")["evicted_keys"] > 0
    assert redis.get("costlab:flags:revision") == b"1"


@pytest.fixture
def full_redis(mortal_redis):
    """A Redis of the test's own with 4 MiB, and 5 MB in keys without expiry: it refuses every write."""
    with Redis.from_url(mortal_redis.url) as redis:
        for number in range(50):
            redis.set(f"other:{number}", b"x" * 100_000)
        redis.config_set("maxmemory", 4 * 2**20, "maxmemory-policy", "volatile-lru")
        with pytest.raises(OutOfMemoryError):
            redis.set("one", "more")
        yield redis


def test_more_memory_can_be_asked_for_when_there_is_none_left_and_every_process_reads_it(full_redis):
    store = FlagStore(full_redis, Registry.load())
    revision = store.set({"cache.maxmemory_mb": 128, "cache.eviction": "lfu"})
    assert store.given() == (revision, {"cache.maxmemory_mb": 128, "cache.eviction": "lfu"})
    assert store.set({"cache.eviction": None}) > revision
    assert store.given()[1] == {"cache.maxmemory_mb": 128}


def test_a_redis_without_memory_has_flags_that_were_never_set(full_redis):
    assert FlagStore(full_redis, Registry.load()).given() is None


def test_who_keeps_it_gives_more_memory_to_a_redis_that_refuses_writes(full_redis, set_flags):
    keepers = [Eviction(full_redis, set_flags(**{"cache.maxmemory_mb": 128})) for _ in range(2)]
    assert keepers[0].keep()
    assert full_redis.config_get("maxmemory") == {"maxmemory": str(128 * 2**20)}
    assert [keeper.keep() for keeper in keepers] == [True, False]  # there is room for the lease again


def test_as_long_as_redis_refuses_writes_every_process_may_keep_it(full_redis, set_flags):
    keepers = [Eviction(full_redis, set_flags(**{"cache.maxmemory_mb": 4})) for _ in range(2)]
    assert [keeper.keep() for keeper in keepers] == [True, True]


def test_a_change_and_a_reset_reach_redis_while_it_runs(stack, server):
    with Redis.from_url(server.url) as redis:
        stack.set(eviction="lfu")
        eventually(lambda: policy(redis) == "volatile-lfu")
        stack.set(eviction=None)
        eventually(lambda: policy(redis) == "volatile-lru")


def test_a_redis_that_was_restarted_has_it_again(stack, server):
    stack.set(eviction="lfu")
    with Redis.from_url(server.url) as redis:
        eventually(lambda: policy(redis) == "volatile-lfu")
        server.kill()
        server.start()
        eventually(lambda: policy(redis) == "volatile-lfu")


def test_the_defaults_are_what_the_compose_file_starts_redis_with():
    command = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["redis"]["command"]
    flags = Registry.load()
    assert command[command.index("--maxmemory-policy") + 1] == f"volatile-{flags['cache.eviction'].default}"
    assert command[command.index("--maxmemory") + 1] == f"{flags['cache.maxmemory_mb'].default}mb"


def _store(redis, keys):
    pipe = redis.pipeline(transaction=False)
    for key in keys:
        pipe.set(key, b"x" * SIZE, ex=3600)
    pipe.execute()

"""The flag registry and the way a value reaches a process."""

import threading

import pytest
from redis import Redis

from costlab.service.flags import REVISION, VALUES, BadFlagValue, Flags, FlagStore, Registry, UnknownFlag
from tests.conditions import eventually


@pytest.fixture
def registry():
    return Registry.load()


@pytest.fixture
def store(redis: Redis, registry):
    return FlagStore(redis, registry)


@pytest.fixture
def flags(redis: Redis, registry):
    followed = Flags(registry, redis)
    yield followed
    followed.stop()


def test_every_default_is_a_value_the_flag_allows(registry):
    for flag in registry:
        assert flag.parse(flag.default) == flag.default


def test_an_unknown_name_is_refused_with_the_names_that_exist(registry):
    with pytest.raises(UnknownFlag, match=r"cache\.strateg'; there are: cache\.strategy"):
        registry.parse({"cache.strateg": "ttl"})


@pytest.mark.parametrize("value", ["0", "65", "4.5", "many", "", "nan", "inf", True, None.__class__, "1e3"])
def test_a_value_out_of_range_is_refused_with_what_is_allowed(registry, value):
    with pytest.raises(BadFlagValue, match=r"db\.pool cannot be .*; allowed: 1 to 64 \(whole\), or none"):
        registry.parse({"db.pool": value})


@pytest.mark.parametrize("value", ["1_6", "+4", "\u0664", "\uff14", "4.", "0x4", "9" * 5000])
def test_a_whole_number_is_written_in_ascii_digits_alone(registry, value):
    with pytest.raises(BadFlagValue):
        registry.parse({"db.pool": value})


@pytest.mark.parametrize("value", ["0_0.5", "+0.5", "\u0660.\u0665", ".5", "0x1", "0,5", "0.5e", "9" * 5000])
def test_a_number_is_written_as_in_json(registry, value):
    with pytest.raises(BadFlagValue):
        registry.parse({"tracing.sample": value})


@pytest.mark.parametrize("value", [0.00001, "1e-05", "0.5", "1", " 0.25 ", 1])
def test_a_number_is_read_back_as_python_writes_it(registry, value):
    parsed = registry.parse({"tracing.sample": value})["tracing.sample"]
    assert parsed == float(value) == registry.parse({"tracing.sample": str(parsed)})["tracing.sample"]


@pytest.mark.parametrize("value", ["-0.1", "1.01", "nan", "inf", "off"])
def test_a_share_stays_between_zero_and_one(registry, value):
    with pytest.raises(BadFlagValue):
        registry.parse({"tracing.sample": value})


def test_one_bad_change_among_good_ones_sets_none_of_them(store):
    with pytest.raises(BadFlagValue):
        store.set({"cache.ttl": 5, "cache.strategy": "magic"})
    assert store.read() is None


def test_set_values_are_read_back_typed_and_the_others_are_defaults(store):
    revision = store.set({"cache.ttl": "5", "db.pool": "none", "cache.strategy": "ttl"})
    read = store.read()
    assert read is not None
    assert read[0] == revision
    assert (read[1]["cache.ttl"], read[1]["db.pool"], read[1]["cache.strategy"]) == (5.0, "none", "ttl")
    assert read[1]["tracing.sample"] == 0


def test_none_puts_a_flag_back_to_its_default(store):
    store.set({"cache.ttl": 5})
    store.set({"cache.ttl": None})
    assert store.read()[1]["cache.ttl"] == 30


def test_revisions_rise_even_after_redis_lost_everything(store, redis):
    first = store.set({"cache.ttl": 5})
    second = store.set({"cache.ttl": 6})
    # Two changes in one millisecond push the revision ahead of the clock it starts from again.
    eventually(lambda: redis.time()[0] * 1000 + redis.time()[1] // 1000 > second)
    redis.flushdb()
    third = store.set({"cache.ttl": 7})
    assert first < second < third


def test_a_change_reaches_a_process_that_listens(store, flags):
    flags.start()
    store.set({"cache.strategy": "ttl"})
    eventually(lambda: flags["cache.strategy"] == "ttl")


def test_a_process_reports_a_revision_only_after_it_is_in_force(redis, registry, store):
    seen = []
    flags = Flags(registry, redis, lambda revision: seen.append((revision, flags["cache.ttl"])))
    revision = store.set({"cache.ttl": 7})
    flags.refresh()
    assert seen == [(revision, 7.0)]


def test_the_last_values_stay_in_force_when_redis_loses_its_data(redis, store, flags):
    store.set({"cache.ttl": 7})
    flags.refresh()
    redis.flushdb()
    flags.refresh()
    assert flags["cache.ttl"] == 7.0


def test_the_last_values_stay_in_force_while_redis_is_away(registry):
    nobody = Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.1)
    flags = Flags(registry, nobody)
    flags.start()
    assert flags["cache.ttl"] == 30
    flags.stop()


def test_values_left_by_another_version_of_the_code_are_not_used(redis, store, flags):
    store.set({"cache.ttl": 7})
    redis.hset(VALUES, mapping={"no.such_flag": "1", "cache.strategy": "no such strategy"})
    redis.set(REVISION, 10**15)
    flags.refresh()
    assert flags["cache.strategy"] == "off"
    assert flags["cache.ttl"] == 7.0


def test_a_reader_sees_all_of_a_change_or_nothing_of_it(redis, store, flags):
    """Two flags always set to matching values are never seen apart through one snapshot."""
    torn, done = [], threading.Event()

    def read():
        while not done.is_set():
            seen = flags.snapshot()
            if seen["gateway.rate_limit_rate"] != seen["gateway.rate_limit_burst"]:
                torn.append(seen)

    store.set({"gateway.rate_limit_rate": 1, "gateway.rate_limit_burst": 1})
    flags.refresh()
    reader = threading.Thread(target=read)
    reader.start()
    for n in range(2, 60):
        store.set({"gateway.rate_limit_rate": n, "gateway.rate_limit_burst": n})
        flags.refresh()
    done.set()
    reader.join()
    assert torn == []

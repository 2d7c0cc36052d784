"""Flags of kind restart: recorded with the others, read by the next process, shown as the process runs."""

import pytest

from costlab.service import restart_flags
from costlab.service.flags import Flags, FlagStore, Registry, _flag
from costlab.service.settings import ServerSettings

REGISTRY = Registry.load()


def test_every_restart_flag_sets_a_variable_that_a_setting_reads_and_no_live_flag_does():
    kinds = {flag.name: flag.kind for flag in REGISTRY}
    assert {name for name, kind in kinds.items() if kind == "restart"} == set(restart_flags.VARIABLES)
    settings = {f"COSTLAB_{name.upper()}" for name in ServerSettings.model_fields}
    assert set(restart_flags.VARIABLES.values()) <= settings


@pytest.mark.parametrize("name", restart_flags.VARIABLES)
def test_every_value_a_restart_flag_allows_is_one_the_setting_takes(name):
    """A flag that stops the service when it starts with it would take the stack down."""
    flag, field = REGISTRY[name], restart_flags.VARIABLES[name].removeprefix("COSTLAB_").lower()
    for value in flag.values or (int(flag.low), int(flag.high)):
        assert getattr(ServerSettings(**{field: value}), field) == flag.parse(value)


def test_what_was_set_becomes_variables_and_what_was_not_leaves_the_environment_alone(redis, redis_url):
    assert restart_flags.recorded(redis_url) == {}
    FlagStore(redis, REGISTRY).set({"service.processes": 3, "service.preload": "on", "cache.ttl": 5})
    assert restart_flags.recorded(redis_url) == {"COSTLAB_PROCESSES": "3", "COSTLAB_PRELOAD": "on"}
    FlagStore(redis, REGISTRY).set({"service.processes": None})
    assert restart_flags.recorded(redis_url) == {"COSTLAB_PRELOAD": "on"}


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "", "nonsense"])
def test_without_redis_the_environment_stands(url):
    assert restart_flags.recorded(url) == {}


def test_a_process_shows_what_it_was_started_with_until_it_is_restarted(redis):
    fixed = restart_flags.running(ServerSettings(processes=2, preload="on"))
    flags = Flags(REGISTRY, redis, fixed=fixed)
    FlagStore(redis, REGISTRY).set({"service.processes": 5, "cache.ttl": 5})
    flags.refresh()
    assert (flags["service.processes"], flags["service.preload"], flags["cache.ttl"]) == (2, "on", 5)
    assert flags.snapshot()["service.processes"] == 2


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="live or restart"):
        _flag("a.b", {"values": ["x"], "default": "x", "owner": "all", "help": "h", "kind": "sometimes"})


def test_a_flag_is_live_unless_it_says_otherwise():
    assert REGISTRY["cache.ttl"].kind == "live"

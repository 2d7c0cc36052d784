"""Strategy ttl, alone: time and the entry go in, a decision comes out."""

import pytest

from costlab.service.flags import Registry
from services.cache_proxy.entry import Entry
from services.cache_proxy.strategies import STRATEGIES
from services.cache_proxy.strategies.off import Off
from services.cache_proxy.strategies.ttl import Ttl
from services.cache_proxy.strategy import Action, Lifetime


def entry(stored_at=1000.0, fresh=30.0):
    return Entry(b"8 bytes.", stored_at, fresh, fresh, 0.01, 200, [], b"{}")


@pytest.mark.parametrize("age", [0.0, 0.1, 29.999])
def test_a_younger_entry_is_served(age):
    assert Ttl().on_read(entry(), 1000.0 + age, ttl=30, window=10) is Action.SERVE


@pytest.mark.parametrize("age", [30.0, 30.001, 1e6])
def test_an_entry_is_never_served_at_its_expiry_or_later(age):
    assert Ttl().on_read(entry(), 1000.0 + age, ttl=30, window=10) is Action.FILL


def test_nothing_stored_is_filled():
    assert Ttl().on_read(None, 1000.0, ttl=30, window=10) is Action.FILL


def test_a_lowered_ttl_acts_on_what_is_stored():
    assert Ttl().on_read(entry(), 1005.0, ttl=4, window=10) is Action.FILL


def test_a_raised_ttl_does_not_stretch_what_was_promised():
    assert Ttl().on_read(entry(fresh=5.0), 1006.0, ttl=3600, window=10) is Action.FILL


def test_an_entry_is_kept_as_long_as_it_is_fresh():
    assert Ttl().lifetime(ttl=12.5, window=10, cost=3.0) == Lifetime(fresh=12.5, keep=12.5)


def test_the_flag_offers_exactly_the_strategies_there_are():
    assert set(Registry.load()["cache.strategy"].values) == set(STRATEGIES)


def test_off_does_not_look():
    assert Off.looks is False

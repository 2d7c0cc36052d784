"""Strategy ttl_jitter: lifetimes spread around the flag, and never further than promised."""

import statistics

from hypothesis import given
from hypothesis import strategies as some

from services.cache_proxy.entry import Entry
from services.cache_proxy.strategies.ttl_jitter import SPREAD, TtlJitter
from services.cache_proxy.strategy import Action

_TTLS = some.floats(min_value=0.1, max_value=3600)
_CHANCES = some.floats(min_value=0, max_value=1, exclude_max=True)


def entry(fresh, stored_at=1000.0):
    return Entry(b"8 bytes.", stored_at, fresh, fresh, 0.01, 200, [], b"{}")


@given(_TTLS, _CHANCES)
def test_a_lifetime_is_within_the_spread_around_the_flag(ttl, chance):
    lifetime = TtlJitter(lambda: chance).lifetime(ttl, window=10, cost=0.01)
    assert ttl * (1 - SPREAD) <= lifetime.fresh <= ttl * (1 + SPREAD)
    assert lifetime.keep == lifetime.fresh


def test_the_spread_is_between_ten_and_twenty_percent():
    assert 0.1 <= SPREAD <= 0.2


def test_answers_fetched_together_expire_evenly_over_the_whole_spread():
    strategy = TtlJitter(iter([n / 1000 for n in range(1000)]).__next__)
    lifetimes = [strategy.lifetime(100.0, window=10, cost=0.01).fresh for _ in range(1000)]
    assert (min(lifetimes), round(max(lifetimes), 1)) == (85.0, 115.0)
    assert round(statistics.mean(lifetimes)) == 100
    assert max(sum(second <= one < second + 1 for one in lifetimes) for second in range(85, 115)) <= 35


@given(_TTLS, _CHANCES, some.floats(min_value=0, max_value=5000))
def test_an_entry_is_served_until_its_own_expiry_and_not_at_it(ttl, chance, age):
    strategy = TtlJitter(lambda: chance)
    stored = entry(strategy.lifetime(ttl, window=10, cost=0.01).fresh, stored_at=0.0)
    served = strategy.on_read(stored, age, ttl, window=10) is Action.SERVE
    assert served == (age < stored.fresh)


def test_a_lowered_ttl_acts_on_what_is_stored():
    assert TtlJitter().on_read(entry(fresh=30.0), 1006.0, ttl=5, window=10) is Action.FILL

"""What each kind of fault does, without a service: chance that repeats, sizes that are as asked."""

import math
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.service.fault_kinds import KINDS, capacity_cut, cpu_burn, memory_leak
from costlab.service.fault_kinds.chance import decide
from costlab.service.fault_kinds.effects import FOR_EVER, Answer, Break, Dribble
from costlab.service.fault_kinds.latency_long_tail import LONGEST_SECONDS
from costlab.service.faults import Registry

REGISTRY = Registry.load()
SEEDS = st.integers(0, 2**32 - 1)


def made(name: str, **parameters: float):
    """The kind of that name with ``parameters`` over its defaults."""
    defaults = {key: parameter.default for key, parameter in REGISTRY[name].parameters.items()}
    return KINDS[name](**defaults | parameters)


@settings(max_examples=50)
@given(st.sampled_from(list(KINDS)), st.floats(0.01, 1), SEEDS)
def test_the_same_seed_decides_the_same_for_the_same_request(name, rate, seed):
    def decisions() -> list:
        return [decide(made(name), rate, seed, number) for number in range(30)]

    assert decisions() == decisions()


@settings(max_examples=25)
@given(SEEDS)
def test_another_seed_decides_otherwise(seed):
    """Of 2^64 possible sequences two seeds do not draw the same."""
    kind = made("stall")
    first, second = ([decide(kind, 0.5, each, number) for number in range(64)] for each in (seed, seed ^ 1))
    assert first != second


@settings(max_examples=50)
@given(st.floats(0.01, 1), SEEDS)
def test_the_rate_meets_its_share_within_the_binomial_interval(rate, seed):
    """Six standard deviations of 1,000 requests: wrong once in 500 million."""
    met = sum(decide(made("errors"), rate, seed, number) is not None for number in range(1000))
    assert abs(met - 1000 * rate) <= 6 * math.sqrt(1000 * rate * (1 - rate)) + 1


@settings(max_examples=100)
@given(st.floats(1, 60000), st.floats(0.5, 20), SEEDS)
def test_latency_is_never_below_what_was_asked(ms, alpha, seed):
    assert made("latency", ms=ms).effect(Random(seed)).seconds == ms / 1000
    assert made("stall", ms=ms).effect(Random(seed)).seconds == ms / 1000
    assert ms / 1000 <= made("latency_long_tail", ms=ms, alpha=alpha).effect(Random(seed)).seconds <= LONGEST_SECONDS


@settings(max_examples=25)
@given(st.floats(100, 1000), st.floats(0, 100), SEEDS)
def test_normal_latency_has_the_mean_that_was_asked_and_is_never_negative(mean, deviation, seed):
    kind, random = made("latency_normal", mean_ms=mean, sd_ms=deviation), Random(seed)
    waits = [kind.effect(random).seconds for _ in range(400)]
    assert min(waits) >= 0
    assert abs(sum(waits) / 400 - mean / 1000) <= 6 * deviation / 1000 / 20 + 0.01 * mean / 1000


@settings(max_examples=25)
@given(st.floats(1, 3), SEEDS)
def test_one_in_ten_of_a_long_tail_is_above_the_figure_that_its_help_names(alpha, seed):
    kind, random = made("latency_long_tail", ms=10, alpha=alpha), Random(seed)
    above = sum(kind.effect(random).seconds > 0.01 * 10 ** (1 / alpha) for _ in range(1000))
    assert abs(above - 100) <= 6 * math.sqrt(90)


def test_the_others_have_one_effect_each():
    assert made("errors", status=418).effect(Random(1)) == Answer(418)
    assert made("hang").effect(Random(1)) == FOR_EVER
    assert made("reset").effect(Random(1)) == Break()
    assert made("slow_body", bytes_per_second=50).effect(Random(1)) == Dribble(50)


@settings(max_examples=100)
@given(st.integers(1, 256), st.lists(st.floats(0.01, 0.99), max_size=4))
def test_a_capacity_cut_leaves_at_least_one_slot_and_never_more_than_there_are(slots, cuts):
    left = capacity_cut.left(slots, cuts)
    assert 1 <= left <= slots
    assert left == slots or cuts
    assert capacity_cut.left(slots, []) == slots


@settings(max_examples=100)
@given(st.integers(2, 200), st.integers(1, 9))
def test_a_cut_of_tenths_is_exact(tens, tenths):
    """Ten slots less three tenths are seven, also in binary fractions."""
    assert capacity_cut.left(tens * 10, [tenths / 10]) == tens * (10 - tenths)


@settings(max_examples=100)
@given(st.floats(0, 1000), st.floats(0.01, 1))
def test_a_thread_that_burned_its_share_owes_nothing(elapsed, share):
    assert abs(cpu_burn.owed(elapsed, elapsed * share, share)) < 1e-9
    assert cpu_burn.owed(elapsed, 0, share) >= 0


@settings(max_examples=100)
@given(st.floats(0, 1000), st.floats(0, 1000), st.floats(0.1, 1000), st.floats(1, 4096))
def test_a_leak_grows_and_never_passes_its_cap(earlier, more, rate, cap):
    before, after = (memory_leak.due(elapsed, rate, cap) for elapsed in (earlier, earlier + more))
    assert 0 <= before <= after <= cap * 1024 * 1024

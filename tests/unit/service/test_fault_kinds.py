"""What each kind of fault does, without a service: chance that repeats, sizes that are as asked."""

import math
import os
import subprocess
import sys
from random import Random
from statistics import pvariance

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.service.fault_kinds import KINDS, capacity_cut, cpu_burn, memory_leak
from costlab.service.fault_kinds.chance import INSTANCE_NAME, PROCESS_NUMBER, decide, sequence
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


def test_the_first_process_of_the_first_instance_draws_what_the_docstring_says_and_the_second_otherwise():
    def met(environment: dict[str, str]) -> list[int]:
        drawn = (decide(made("errors"), 0.3, 7, number, sequence(environment)) for number in range(10))
        return [number for number, effect in enumerate(drawn) if effect is not None]

    first = {INSTANCE_NAME: "users", PROCESS_NUMBER: "1"}
    assert met({}) == met(first) == [2, 5, 6, 9]
    assert met(first | {PROCESS_NUMBER: "2"}) == [7]


@given(st.integers(1, 8), st.integers(1, 10_000), st.integers(1, 8), st.integers(1, 10_000))
def test_no_two_processes_of_a_service_have_the_same_sequence(instance, process, other_instance, other_process):
    def of(instance: int, process: int) -> int:
        name = "users" if instance == 1 else f"users-{instance}"
        return sequence({INSTANCE_NAME: name, PROCESS_NUMBER: str(process)})

    same = (instance, process) == (other_instance, other_process)
    assert (of(instance, process) == of(other_instance, other_process)) == same


def test_over_several_processes_failures_vary_no_more_than_chance_has_it():
    """Four processes with 25 requests each: 100 * 0.5 * 0.5 = 25, and four times that if they all drew the same."""

    def failures(seed: int) -> int:
        draws = (decide(made("errors"), 0.5, seed, number, process) for process in range(4) for number in range(25))
        return sum(effect is not None for effect in draws)

    assert 15 < pvariance([failures(seed) for seed in range(200)]) < 40


@pytest.mark.parametrize(("processes", "number"), [("1", "1"), ("2", "3")])
def test_gunicorn_numbers_its_processes_and_an_only_one_stays_the_first(processes, number):
    """The third that it starts: one of two takes the place of another, or one does so alone."""
    program = f"""
import os, runpy, types
runpy.run_path("infra/gunicorn.conf.py")["post_fork"](None, types.SimpleNamespace(age=3))
print(os.environ["{PROCESS_NUMBER}"])
"""
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    environment["COSTLAB_PROCESSES"] = processes
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == number


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

"""k6 and the built-in generator on one stack: what they report is the stack's, not theirs."""

import math

import numpy as np
import pytest

from costlab.lab import statistics
from costlab.lab.load import LoadResult, LoadSpec, find_k6, run_load
from costlab.stack.chaos import Chaos
from tests.unit.load.fake_server import BROWSE

pytestmark = pytest.mark.long

GENERATORS = ("k6", "open-model")
ROUNDS, RATE, SECONDS = 6, 40, 2
ALLOWED = 0.05


@pytest.fixture
def slow_gateway(stack):
    """Every request takes 25 ms longer, in which nobody computes: a generator that adds 3 ms adds a tenth."""
    chaos = Chaos(stack)
    chaos.add({"fault": "latency", "on": "gateway", "parameters": {"ms": 25}})
    yield stack
    chaos.clear()


@pytest.mark.skipif(find_k6() is None, reason="no k6 here: put it on PATH or name it in $K6")
def test_both_generators_report_the_same_rate_and_median_of_one_stack(slow_gateway):
    """In six rounds of the same requests. A median differs where the whole interval over the rounds does: on a quiet
    machine it is 3 % wide, and a busy one, which delays either by chance, makes it wider. Twenty connections, so that
    the settle stretch warms every virtual user of k6.
    """
    spec = LoadSpec(
        slow_gateway.base_url(), BROWSE, RATE, SECONDS, settle_seconds=1, seed=3, api_key="demo", connections=20
    )
    ratios, rates = [], {generator: [] for generator in GENERATORS}
    for turn in range(ROUNDS):
        medians = {}
        for generator in GENERATORS[:: 1 if turn % 2 else -1]:
            result = run_load(spec, generator)
            assert (result.planned, result.sent, result.dropped) == (RATE * SECONDS, RATE * SECONDS, 0)
            assert set(result.samples["status"]) == {200}
            rates[generator].append(answered_a_second(result))
            medians[generator] = np.median(result.samples["latency"])
        ratios.append(math.log(medians["k6"] / medians["open-model"]))
    for rounds in rates.values():
        assert np.median(rounds) == pytest.approx(RATE, rel=0.03)
    low, high = (math.expm1(end) for end in statistics.interval(ratios, seed=1))
    assert low < ALLOWED, f"k6 reports {low:+.1%} to {high:+.1%}"
    assert high > -ALLOWED, f"k6 reports {low:+.1%} to {high:+.1%}"


def answered_a_second(result: LoadResult) -> float:
    """From the first quarter of the answers to the last one, the middle of each: no slow answer moves it."""
    ends = result.samples["planned_at"] + result.samples["latency"]
    quarter = len(ends) // 4
    return (len(ends) - quarter) / (np.median(ends[-quarter:]) - np.median(ends[:quarter]))

"""k6 and the built-in generator on one stack: what they report is the stack's, not theirs."""

import numpy as np
import pytest

from costlab.lab.load import LoadSpec, find_k6, run_load
from costlab.stack.chaos import Chaos
from tests.unit.load.fake_server import BROWSE


@pytest.fixture
def slow_gateway(stack):
    """Every request takes 100 ms longer, whatever else goes on: what the two report hardly depends on the machine."""
    chaos = Chaos(stack)
    chaos.add({"fault": "latency", "on": "gateway", "parameters": {"ms": 100}})
    yield stack
    chaos.clear()


@pytest.mark.skipif(find_k6() is None, reason="no k6 here: put it on PATH or name it in $K6")
def test_both_generators_report_the_same_rate_and_median_of_one_stack(slow_gateway):
    """They take turns (ABBA), with the same requests."""
    spec = LoadSpec(
        slow_gateway.base_url(), BROWSE, rate=40, seconds=2, settle_seconds=0.5, seed=3, api_key="demo", connections=64
    )
    latencies = {"k6": [], "open-model": []}
    for generator in ("k6", "open-model", "open-model", "k6"):
        result = run_load(spec, generator)
        assert (result.planned, result.sent, result.dropped) == (80, 80, 0)
        assert set(result.samples["status"]) == {200}
        latencies[generator] += result.samples["latency"].tolist()
    medians = {name: np.median(values) for name, values in latencies.items()}
    assert medians["k6"] == pytest.approx(medians["open-model"], rel=0.1)

"""Whichever generator drives the load, the reports say the same, and a stall shows in them as theory says."""

import numpy as np
import pytest

from costlab.lab import charts, measure, metrics
from costlab.lab.block import Block
from costlab.lab.load import LoadSpec, find_k6, run_load
from costlab.lab.plan import Planned
from costlab.lab.probes import Rise
from tests.unit.lab import synthetic
from tests.unit.load.fake_server import BROWSE, FakeServer, fake_server

GENERATORS = [
    "open-model",
    pytest.param("k6", marks=pytest.mark.skipif(find_k6() is None, reason="no k6 here: put it on PATH or in $K6")),
]


def measured(server: FakeServer, generator: str, seconds: float, settled=lambda: None, **more) -> Block:
    """A block of that load, as a run stores it."""
    usual = {"traffic": BROWSE, "rate": 50, "settle_seconds": 0.5, "seed": 1, "api_key": "demo"}
    load = run_load(LoadSpec(server.url, seconds=seconds, **usual | more), generator, on_measure_start=settled)
    rise = Rise(seconds, {}, synthetic.block(1, "off").queries, synthetic.QUIET, {"gateway": 0.1}, {}, "pss")
    return measure.block(Planned(1, "off", 1), seconds, load, rise, {}, synthetic.day_11().guards, cores=2)


def shares_above(block: Block, milliseconds: list[float]) -> list[float]:
    """Read from the distribution that the report draws."""
    line = charts.distribution(synthetic.day_11(), [block])["data"][0]
    return [1 - np.interp(x, line["x"], line["y"]) / 100 for x in milliseconds]


@pytest.mark.skipif(find_k6() is None, reason="no k6 here: put it on PATH or name it in $K6")
def test_both_generators_report_the_same_median_and_rate():
    """A server that takes 100 ms. On a quiet machine they are 1 ms apart; a busy one is given 8 %."""
    medians = {}
    for generator in ("k6", "open-model"):
        with fake_server() as server:
            server.service_seconds = 0.1
            block = measured(server, generator, seconds=3)
        medians[generator] = metrics.named("p50_ms").read(block, [])
        assert block.planned == block.sent == 150
        assert block.answered_in_time / block.seconds == pytest.approx(50, rel=0.01)
    assert medians["k6"] == pytest.approx(medians["open-model"], rel=0.08)
    assert min(medians.values()) >= 100


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_stall_shows_in_the_report_as_theory_says(generator):
    """S = 1 s in a run of T = 4 s: mean latency S²/2T = 0.125 s, P(latency > x) = (S - x)/T.

    On top of the usual latency, which is the median as long as the stall is short against the run. A generator that
    waited for each answer before it asked again would report a mean of some 10 ms.
    """
    stall, length = 1.0, 4.0
    with fake_server() as server:
        block = measured(server, generator, length, settled=lambda: server.pause(after=1.5, seconds=stall))
    assert (block.dropped, set(block.statuses)) == (0, {"200"})
    mean, usual = (metrics.named(name).read(block, []) for name in ("mean_ms", "p50_ms"))
    assert (mean - usual) / 1000 == pytest.approx(stall**2 / (2 * length), rel=0.35)
    beyond = [0.25, 0.5, 0.75]
    shown = shares_above(block, [usual + 1000 * x for x in beyond])
    assert shown == pytest.approx([(stall - x) / length for x in beyond], abs=0.06)

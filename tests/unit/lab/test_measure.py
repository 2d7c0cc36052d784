"""From what the generator saw to a block, and its guards."""

import numpy as np
import pytest

from costlab.lab import measure
from costlab.lab.load import SAMPLE, LoadResult
from costlab.lab.plan import Planned
from costlab.lab.probes import Rise
from tests.unit.lab import synthetic


def measured(statuses=(200,) * 100, latency=0.02, planned=None, machine=synthetic.QUIET, **more):
    samples = np.zeros(len(statuses), dtype=SAMPLE)
    samples["planned_at"] = np.arange(len(statuses)) / 10
    samples["latency"] = latency
    samples["status"] = statuses
    samples["bytes"] = 100
    planned = len(statuses) if planned is None else planned
    load = LoadResult("fake", planned, len(statuses), planned - len(statuses), samples, ["user"], 5.0, 0.5, **more)
    rise = Rise(10.0, {"a b_total": 0.0}, synthetic.block(1, "off").queries, machine, {}, {}, "pss")
    return measure.block(Planned(1, "off", 7), 10.0, load, rise, {}, synthetic.day_11().guards, cores=2)


def broken(block):
    return [guard.name for guard in block.guards if guard.kept is False]


def test_a_quiet_block_keeps_every_guard():
    block = measured()
    assert broken(block) == []
    assert (block.succeeded, block.failed_share, block.bytes) == (100, 0.0, 10_000)


def test_latencies_are_those_of_successful_requests_only():
    block = measured((200,) * 50 + (503,) * 50)
    assert sum(block.latencies.histogram.values()) == 50
    assert block.failed_share == 0.5
    assert broken(block) == ["failed"]


def test_what_got_no_answer_failed():
    block = measured((200,) * 90 + (0,) * 10)
    assert block.statuses == {"0": 10, "200": 90}
    assert "failed" in broken(block)


def test_dropped_requests_break_the_guards_of_drops_and_of_the_rate():
    block = measured(planned=110)
    assert set(broken(block)) == {"dropped", "rate_error", "failed"}
    assert block.failed_share == pytest.approx(10 / 110)


def test_answers_long_after_the_end_break_the_guard_of_the_rate():
    assert broken(measured(latency=5.0)) == ["rate_error"]


def test_the_generators_share_is_of_the_whole_machine():
    assert measured().machine.generator == pytest.approx(0.5 / (10 * 2))


@pytest.mark.parametrize("name", ["busy", "steal", "cpu_pressure", "memory_pressure"])
def test_a_machine_that_is_not_quiet_breaks_its_guard(name):
    assert broken(measured(machine=synthetic.QUIET.model_copy(update={name: 0.9}))) == [name]


def test_probes_that_come_late_break_a_guard():
    assert broken(measured(overlap_seconds=0.5)) == ["overlap"]


def test_what_the_machine_does_not_tell_is_neither_kept_nor_broken():
    block = measured(machine=synthetic.QUIET.model_copy(update={"steal": None}))
    assert next(guard.kept for guard in block.guards if guard.name == "steal") is None


def test_every_second_has_its_row():
    block = measured()
    assert [second.at for second in block.series] == list(range(10))
    assert {second.requests for second in block.series} == {10}
    assert block.series[0].p50_ms == pytest.approx(20)


def test_counters_that_did_not_move_are_left_out():
    assert measured().counters == {}

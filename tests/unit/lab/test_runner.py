"""Executing a plan: flags first, each block saved as it ends, flags back whatever happens."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from costlab.lab import runner
from costlab.lab.errors import Interrupted
from costlab.lab.experiment import State
from costlab.lab.load import SAMPLE, LoadError, LoadResult, LoadStopped
from costlab.lab.plan import plan
from costlab.lab.probes import Rise
from costlab.lab.state import Stage
from costlab.stack.control import ControlError
from tests.unit.lab import synthetic

BEFORE = {"gateway.reads": "direct", "orders.user_lookup": "cache_proxy", "cache.strategy": "off", "cache.ttl": 30.0}


class Control:
    """Flags in a dict; ``history`` is what was set, in order."""

    def __init__(self):
        self.values = dict(BEFORE)
        self.history = []
        self.broken = False

    def flags(self):
        return dict(self.values)

    def set_flags(self, changes):
        if self.broken:
            raise ControlError("no stack answers")
        self.history.append(changes)
        self.values |= changes
        return len(self.history), []


class Probes:
    """Readings of a stack that does nothing."""

    query_source = "nobody"

    def close(self):
        pass

    def before(self):
        return "before"

    def after(self, before):
        assert before == "before"
        return Rise(1.0, {}, synthetic.block(1, "off").queries, synthetic.QUIET, {"gateway": 0.1}, {}, "pss")


class Listener:
    def __init__(self):
        self.events = []

    def begun(self, experiment, form):
        self.events.append(("begun", form.count))

    def started(self, place, blocks, planned):
        self.events.append(("started", place, blocks, planned.variant))

    def progressed(self, share, facts):
        self.events.append(("progressed", share))

    def finished(self, block):
        self.events.append(("finished", block.variant))

    def said(self, text):
        self.events.append(("said", text))


class Load:
    """A load generator that answers at once; ``act(call)`` may do something first."""

    def __init__(self, act=lambda call: None, medians=None):
        self.act, self.medians, self.specs = act, medians, []

    def __call__(self, spec, *, generator, progress, stop, on_measure_start, on_measure_end):
        self.specs.append(spec)
        self.act(len(self.specs))
        if stop.is_set():
            raise LoadStopped("stopped")
        on_measure_start()
        progress(0.5, {"phase": "measure"})
        on_measure_end()
        samples = np.zeros(int(spec.rate * spec.seconds), dtype=SAMPLE)
        samples["planned_at"] = np.arange(len(samples)) / spec.rate
        slowing = self.medians and len(self.specs) == 1
        samples["latency"] = 0.01 * (np.floor(samples["planned_at"]) + 1 if slowing else 1)
        samples["status"] = 200
        return LoadResult("fake", len(samples), len(samples), 0, samples, ["user"], 1000.0, 0.1)


@pytest.fixture
def control():
    return Control()


@pytest.fixture
def bench(control):
    stack = SimpleNamespace(
        base_url=lambda: "http://127.0.0.1:1",
        redis_url=lambda: "redis://127.0.0.1:1",
        internal_urls=lambda: {"gateway": "http://127.0.0.1:2"},
    )
    declared = synthetic.day_11().model_copy(update={"state": State(cache="kept")})
    form = declared.quick.model_copy(update={"block_seconds": 8.0})

    def make(load, **more):
        stage = Stage(stack, control, declared, control.set_flags, dict(BEFORE))
        fields = {"stage": stage, "probes": Probes(), "form": form, "listener": Listener()} | more
        return runner.Bench(stack=stack, experiment=declared, stop=threading.Event(), load=load, **fields)

    return make


def execute(bench, rounds=2):
    saved = []
    planned = plan(bench.experiment.names(), rounds, seed=1)
    try:
        runner.run(bench, planned, saved.append)
    finally:
        bench.listener.saved = saved
    return planned, saved


def test_every_block_runs_with_the_flags_of_its_variant(bench):
    made = bench(Load())
    planned, saved = execute(made)
    assert [block.variant for block in saved] == [block.variant for block in planned]
    for block in saved:
        assert block.flags == BEFORE | made.experiment.variants[block.variant].flags


def test_the_flags_stand_at_the_end_as_before(bench, control):
    made = bench(Load())
    execute(made)
    assert control.values == BEFORE


def test_variants_of_a_round_get_the_same_requests(bench):
    load = Load()
    planned, _ = execute(bench(load))
    assert [spec.seed for spec in load.specs] == [block.seed for block in planned]


def test_a_failure_puts_the_flags_back_and_keeps_the_finished_blocks(bench, control):
    def fail(call):
        if call == 3:
            raise LoadError("the gateway is gone")

    made = bench(Load(fail))
    with pytest.raises(LoadError, match="the gateway is gone"):
        execute(made)
    assert control.values == BEFORE
    assert len(made.listener.saved) == 2


def test_stopping_puts_the_flags_back_and_keeps_the_finished_blocks(bench, control):
    def interrupt(call):
        if call == 2:
            made.stop.set()

    made = bench(Load(interrupt))
    with pytest.raises(Interrupted):
        execute(made)
    assert control.values == BEFORE
    assert len(made.listener.saved) == 1


def test_a_stack_that_is_gone_hides_nothing_of_what_went_wrong(bench, control):
    def lose(call):
        control.broken = True
        raise LoadError("the gateway is gone")

    made = bench(Load(lose))
    with pytest.raises(LoadError, match="the gateway is gone"):
        execute(made)
    assert ("said", "the flags could not be put back: no stack answers") in made.listener.events


def test_a_block_still_warming_up_is_repeated_once_and_kept(bench):
    form = synthetic.day_11().rounds.model_copy(update={"block_seconds": 8.0, "repeat_drifting": True})
    made = bench(Load(medians=True), form=form)
    _, saved = execute(made, rounds=1)
    assert [block.repeated for block in saved] == [True, False, False]


def test_whoever_watches_hears_of_every_block(bench):
    made = bench(Load())
    planned, _ = execute(made, rounds=1)
    first, second = (block.variant for block in planned)
    expected = [("started", 1, 2, first), ("progressed", 0.5), ("finished", first), ("started", 2, 2, second)]
    assert made.listener.events[:4] == expected

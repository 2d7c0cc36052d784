"""Executing a plan: flags first, each block saved as it ends, flags back whatever happens."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from costlab.lab import runner
from costlab.lab.errors import Interrupted, LabError
from costlab.lab.experiment import PlannedFault, State
from costlab.lab.load import SAMPLE, LoadError, LoadResult, LoadStopped
from costlab.lab.plan import plan
from costlab.lab.probes import Rise
from costlab.lab.state import Stage
from costlab.service.faults import Record
from costlab.stack.control import ControlError
from tests.conditions import eventually
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


class Chaos:
    """Faults in a list; each is over at once."""

    def __init__(self):
        self.added, self.active, self.cleared = [], [], 0

    def add(self, document):
        self.added.append(document)
        now = time.time()
        return Record("id", document["fault"], document["on"], now, now + document["ttl"])

    def clear(self):
        self.cleared += 1
        return 0

    def status(self):
        return self.active


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

    def __init__(self, act=lambda call: None, medians=None, wait=lambda: None):
        self.act, self.medians, self.wait, self.specs = act, medians, wait, []

    def __call__(self, spec, *, generator, progress, stop, on_measure_start, on_measure_end):
        self.specs.append(spec)
        self.act(len(self.specs))
        if stop.is_set():
            raise LoadStopped("stopped")
        on_measure_start()
        progress(0.5, {"phase": "measure"})
        self.wait()
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
        fields = {"stage": stage, "chaos": Chaos(), "probes": Probes(), "form": form, "listener": Listener()} | more
        fields |= {"experiment": more.get("experiment", declared), "stop": threading.Event(), "load": load}
        return runner.Bench(stack=stack, **fields)

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


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"seconds": 2}, None),
        ({"seconds": 5}, 400),
        ({"seconds": 60}, 500),
        ({"seconds": 9, "on": "worker"}, None),
    ],
    ids=["as long as the generators' own", "longer", "more than there may be", "not in the way of requests"],
)
def test_a_stall_that_the_day_declares_finds_a_connection_for_every_request(bench, fault, expected):
    planned = PlannedFault(**{"at": 0, "fault": "latency", "on": "users", "parameters": {"ms": 50}} | fault)
    assert synthetic.day_11().load.rate == 80
    load = Load(wait=lambda: eventually(lambda: made.chaos.added))
    made = bench(load, experiment=synthetic.day_11().model_copy(update={"faults": [planned]}))
    execute(made, rounds=1)
    assert {spec.connections for spec in load.specs} == {expected}


@pytest.fixture
def broken_day():
    """A day whose users are slow from the start of each block on, and again."""
    fault = PlannedFault(at=0, seconds=2, fault="latency", on="users", parameters={"ms": 50})
    return synthetic.day_11().model_copy(update={"state": State(cache="kept"), "faults": [fault, fault]})


def test_every_block_meets_the_faults_of_the_day_with_the_same_seed_in_a_round(bench, broken_day):
    load = Load(wait=lambda: eventually(lambda: len(made.chaos.added) == 2 * len(load.specs)))
    made = bench(load, experiment=broken_day)
    planned, saved = execute(made)
    assert [document["seed"] for document in made.chaos.added] == [block.seed for block in planned for _ in range(2)]
    assert made.chaos.added[0] == {
        "fault": "latency", "on": "users", "ttl": 2.0, "parameters": {"ms": 50}, "seed": planned[0].seed
    }  # fmt: skip
    assert [len(block.faults) for block in saved] == [2] * 4
    seen = saved[0].faults[0]
    assert (seen.fault, seen.on) == ("latency", "users")
    assert seen.until > seen.at
    assert made.chaos.cleared == 4


def test_a_block_that_is_over_before_its_fault_came_fails_and_says_so(bench, broken_day):
    late = [broken_day.faults[0].model_copy(update={"at": 60.0})]
    made = bench(Load(), experiment=broken_day.model_copy(update={"faults": late}))
    with pytest.raises(LabError, match="over before latency on users was in force"):
        execute(made)
    assert made.chaos.cleared == 1


def test_a_fault_that_cannot_be_made_fails_the_block_with_the_reason(bench, broken_day):
    made = bench(Load(wait=lambda: eventually(lambda: refused)), experiment=broken_day)
    refused = []

    def refuse(document):
        refused.append(document)
        raise ControlError("users does not answer")

    made.chaos.add = refuse
    with pytest.raises(LabError, match="a fault of the block could not be made: users does not answer"):
        execute(made)


def test_a_fault_that_is_left_at_the_end_fails_the_block(bench, broken_day):
    made = bench(Load(wait=lambda: eventually(lambda: len(made.chaos.added) == 2)), experiment=broken_day)
    made.chaos.active = [Record("id", "latency", "users", 0, 1)]
    with pytest.raises(LabError, match="a fault is still in force: latency on users"):
        execute(made)


def test_an_interruption_ends_the_faults(bench, broken_day):
    def interrupt(call):
        made.stop.set()

    made = bench(Load(interrupt), experiment=broken_day)
    with pytest.raises(Interrupted):
        execute(made)
    assert made.chaos.active == []

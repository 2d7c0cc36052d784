"""Executes a plan against a stack: for each block state (flags, restarts, cache), settle, measure, guards.

Whatever happens, the flags stand at the end as they stood before, and each finished block has been handed on.
"""

import json
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from costlab.failure import Failure
from costlab.lab import measure
from costlab.lab.block import Block, FaultSeen
from costlab.lab.catalogue import ROOT
from costlab.lab.environment import cores
from costlab.lab.errors import Interrupted, LabError
from costlab.lab.experiment import Experiment, Form
from costlab.lab.load import MOST_CONNECTIONS, LoadResult, LoadSpec, LoadStopped, run_load
from costlab.lab.plan import Planned
from costlab.lab.probes import Probes, Reading, Rise
from costlab.lab.resuming import missing
from costlab.lab.state import Stage
from costlab.lab.timeline import Chaos, Timeline
from costlab.stack import Stack

# A stall as long is met by what the generators have of themselves.
_SHORT_SECONDS = 2.0
_STOPPED = "interrupted; the flags are back as they were"

RunLoad = Callable[..., LoadResult]


class Listener(Protocol):
    """Whoever watches a run."""

    def begun(self, experiment: Experiment, form: Form) -> None:
        """A run begins, or goes on."""

    def started(self, place: int, blocks: int, planned: Planned) -> None:
        """Block ``place`` of ``blocks`` begins."""

    def progressed(self, share: float, facts: dict) -> None:
        """``share`` (0 to 1) of the block is over; ``facts``: see costlab.lab.load.hooks."""

    def finished(self, block: Block) -> None:
        """The block is over."""

    def said(self, text: str) -> None:
        """Something a person should know."""


@dataclass(frozen=True)
class Bench:
    """What a plan is executed on and with. ``stop`` ends the run at once."""

    stack: Stack
    stage: Stage
    chaos: Chaos
    probes: Probes
    experiment: Experiment
    form: Form
    listener: Listener
    stop: threading.Event
    generator: str = "auto"
    load: RunLoad = run_load


def run(bench: Bench, planned: Sequence[Planned], save: Callable[[Block], None], done: Sequence[Block] = ()) -> None:
    """Execute what of ``planned`` is not ``done``; each block goes to ``save`` as soon as it is finished."""
    repeated = {(block.round, block.variant) for block in done if block.repeated}
    left = missing(planned, done)
    try:
        for place, block in enumerate(left, start=len(planned) - len(left) + 1):
            bench.listener.started(place, len(planned), block)
            measured = _block(bench, block)
            again = bench.form.repeat_drifting and (block.round, block.variant) not in repeated
            if measured.trend.drifting and again:
                save(measured.model_copy(update={"repeated": True}))
                bench.listener.said(f"block {place} was still warming up, and is repeated once")
                measured = _block(bench, block)
            save(measured)
            bench.listener.finished(measured)
    finally:
        _restore(bench)


def _block(bench: Bench, planned: Planned) -> Block:
    _refuse_stopped(bench)
    flags = bench.stage.set(planned.variant)
    _refuse_stopped(bench)
    load, rise, faults = _measured(bench, planned)
    placing = _placing(ROOT / bench.experiment.load.traffic)
    limits = bench.experiment.guards
    block = measure.block(planned, bench.form.block_seconds, load, rise, flags, limits, cores(), placing)
    return block.model_copy(update={"faults": faults})


def _refuse_stopped(bench: Bench) -> None:
    if bench.stop.is_set():
        raise Interrupted(_STOPPED)


def _measured(bench: Bench, planned: Planned) -> tuple[LoadResult, Rise, list[FaultSeen]]:
    readings: list[Reading] = []
    rises: list[Rise] = []
    timeline = Timeline(bench.chaos, bench.experiment.faults, planned.seed)

    def progressed(share: float, facts: dict) -> None:
        bench.listener.progressed(share, facts)
        if facts.get("phase") == "measure":
            settle = bench.form.settle_seconds
            timeline.start(elapsed=max(0.0, share * (settle + bench.form.block_seconds) - settle))

    try:
        load = bench.load(
            _spec(bench, planned),
            generator=bench.generator,
            progress=progressed,
            stop=bench.stop,
            on_measure_start=lambda: readings.append(bench.probes.before()),
            on_measure_end=lambda: rises.append(bench.probes.after(readings[0])),
        )
    except BaseException as error:
        _abort(bench, timeline)
        if isinstance(error, LoadStopped):
            raise Interrupted(_STOPPED) from error
        raise
    if not rises:
        raise LabError("the load ended without a measured stretch")
    return load, rises[0], timeline.end(load.started_at)


def _abort(bench: Bench, timeline: Timeline) -> None:
    """No fault is left behind; one that is is told of, and hides nothing of what went wrong before."""
    try:
        timeline.abort()
    except Failure as error:
        bench.listener.said(str(error))


def _spec(bench: Bench, planned: Planned) -> LoadSpec:
    load = bench.experiment.load
    return LoadSpec(
        base_url=bench.stack.base_url(),
        traffic=ROOT / load.traffic,
        rate=load.rate,
        seconds=bench.form.block_seconds,
        settle_seconds=bench.form.settle_seconds,
        seed=planned.seed,
        api_key=load.api_key,
        connections=_connections(bench.experiment),
    )


def _connections(experiment: Experiment) -> int | None:
    """What it takes that the longest fault of the day, if it stops everything, drops no request; None: the usual.

    Example: 10 s at 40/s are 400 requests. After its timeout a request is given up, so none is kept longer than that.
    The worker holds no request up.
    """
    stalls = (fault.seconds for fault in experiment.faults if fault.on != "worker")
    longest = min(max(stalls, default=0.0), LoadSpec.timeout)
    return min(MOST_CONNECTIONS, math.ceil(experiment.load.rate * longest)) if longest > _SHORT_SECONDS else None


def _placing(traffic: Path) -> list[str]:
    """The requests of a traffic file that place an order. The load has read the file, so it is sound."""
    requests = json.loads(traffic.read_text())["requests"]
    return [name for name, one in requests.items() if (one["method"], one["path"]) == ("POST", "/api/orders")]


def _restore(bench: Bench) -> None:
    """The flags as they were. A stack that is gone took its flags with it, which is said and not raised."""
    try:
        bench.stage.restore()
    except Failure as error:
        bench.listener.said(f"the flags could not be put back: {error}")

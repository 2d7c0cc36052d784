"""Executes a plan against a stack: for each block flags, state, settle, measure, guards.

Whatever happens, the flags stand at the end as they stood before, and each finished block has been handed on.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from costlab.lab import measure
from costlab.lab.block import Block
from costlab.lab.catalogue import ROOT
from costlab.lab.environment import cores
from costlab.lab.errors import Interrupted, LabError
from costlab.lab.experiment import Experiment, Form
from costlab.lab.load import LoadResult, LoadSpec, LoadStopped, run_load
from costlab.lab.plan import Planned
from costlab.lab.probes import Probes, Reading, Rise
from costlab.lab.state import empty_cache
from costlab.stack import Stack
from costlab.stack.control import Control, ControlError

_STOPPED = "interrupted; the flags are back as they were"

RunLoad = Callable[..., LoadResult]


class Listener(Protocol):
    """Whoever watches a run."""

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
    control: Control
    probes: Probes
    experiment: Experiment
    form: Form
    listener: Listener
    stop: threading.Event
    generator: str = "auto"
    load: RunLoad = run_load


def run(bench: Bench, planned: list[Planned], save: Callable[[Block], None]) -> None:
    """Execute ``planned``; each block goes to ``save`` as soon as it is finished."""
    before = bench.control.flags()
    try:
        for place, block in enumerate(planned, start=1):
            bench.listener.started(place, len(planned), block)
            measured = _block(bench, block, before)
            if measured.trend.drifting and bench.form.repeat_drifting:
                save(measured.model_copy(update={"repeated": True}))
                bench.listener.said(f"block {place} was still warming up, and is repeated once")
                measured = _block(bench, block, before)
            save(measured)
            bench.listener.finished(measured)
    finally:
        _restore(bench, before)


def _block(bench: Bench, planned: Planned, before: dict[str, object]) -> Block:
    if bench.stop.is_set():
        raise Interrupted(_STOPPED)
    # A flag that only another variant names is back at its value, whichever variant came before.
    bench.control.set_flags(_touched(bench, before) | bench.experiment.variants[planned.variant].flags)
    if bench.experiment.state.cache == "emptied":
        empty_cache(bench.stack.redis_url())
    flags = bench.control.flags()
    load, rise = _measured(bench, planned)
    return measure.block(planned, bench.form.block_seconds, load, rise, flags, bench.experiment.guards, cores())


def _measured(bench: Bench, planned: Planned) -> tuple[LoadResult, Rise]:
    readings: list[Reading] = []
    rises: list[Rise] = []
    try:
        load = bench.load(
            _spec(bench, planned),
            generator=bench.generator,
            progress=bench.listener.progressed,
            stop=bench.stop,
            on_measure_start=lambda: readings.append(bench.probes.before()),
            on_measure_end=lambda: rises.append(bench.probes.after(readings[0])),
        )
    except LoadStopped as error:
        raise Interrupted(_STOPPED) from error
    if not rises:
        raise LabError("the load ended without a measured stretch")
    return load, rises[0]


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
    )


def _restore(bench: Bench, before: dict[str, object]) -> None:
    """The flags as they were. A stack that is gone took its flags with it, which is said and not raised."""
    try:
        bench.control.set_flags(_touched(bench, before))
    except ControlError as error:
        bench.listener.said(f"the flags could not be put back: {error}")


def _touched(bench: Bench, before: dict[str, object]) -> dict[str, object]:
    """The former values of every flag that some variant sets."""
    names = {flag for variant in bench.experiment.variants.values() for flag in variant.flags}
    return {name: before[name] for name in sorted(names)}

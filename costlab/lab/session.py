"""One run of one day from beginning to end: plan, execute, save after every block, conclude."""

import random
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from costlab.lab import environment, experiment, result, runner
from costlab.lab.block import Block
from costlab.lab.catalogue import Day
from costlab.lab.conclusion import conclude
from costlab.lab.errors import Interrupted
from costlab.lab.load import run_load
from costlab.lab.plan import plan
from costlab.lab.probes import Probes
from costlab.lab.result import Result
from costlab.lab.state import Stage
from costlab.stack import Stack
from costlab.stack.control import Control
from costlab.stack.restarting import set_flags


@dataclass(frozen=True)
class Wish:
    """What a person asked for; None leaves it to the experiment (rounds) or to chance (seed)."""

    quick: bool = False
    rounds: int | None = None
    seed: int | None = None
    generator: str = "auto"


def run_day(
    day: Day,
    wish: Wish,
    stack: Stack,
    listener: runner.Listener,
    stop: threading.Event,
    runs: Path = result.RUNS,
    load: runner.RunLoad = run_load,
) -> tuple[Path, Result]:
    """Run ``day`` and return the result and its file. An interrupted or failed run leaves its finished blocks there."""
    declared = experiment.load(day.file)
    form = declared.form(wish.quick)
    if wish.rounds is not None:
        form = form.model_copy(update={"count": wish.rounds})
    seed = random.SystemRandom().randrange(2**32) if wish.seed is None else wish.seed
    planned = plan(declared.names(), form.count, seed)
    current = Result(
        status="running",
        day=day.slug,
        started=result.now(),
        seed=seed,
        quick=wish.quick,
        form=form,
        experiment=declared,
        environment=environment.describe(stack),
        planned_blocks=len(planned),
        blocks=[],
    )
    path = result.path_for(day, current.started, runs)
    blocks: list[Block] = []
    control = Control(stack.internal_urls(), stack.token())

    def keep(block: Block) -> None:
        blocks.append(block)
        result.save(_so_far(current, blocks, "running"), path)

    try:
        with closing(Probes(stack, control)) as probes:
            listener.said(f"database queries are counted by {probes.query_source}")
            stage = Stage(stack, control, declared, partial(set_flags, stack), control.flags())
            if stage.restarts:
                listener.said(f"before every block these restart: {', '.join(stage.restarts)}")
            bench = runner.Bench(stack, stage, probes, declared, form, listener, stop, wish.generator, load)
            runner.run(bench, planned, keep)
    except BaseException as error:
        if blocks:
            status = "interrupted" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"
            result.save(_so_far(current, blocks, status), path)
            listener.said(f"{len(blocks)} finished blocks are saved in {path}")
        raise
    finished = _so_far(current, blocks, "complete")
    result.save(finished, path)
    return path, finished


def _so_far(start: Result, blocks: list[Block], status: str) -> Result:
    """``start`` with the blocks there are; concluded once it runs no longer and a round is complete."""
    update = {"status": status, "blocks": list(blocks)}
    counted = [block for block in blocks if not block.repeated]
    names = set(start.experiment.names())
    whole = any({b.variant for b in counted if b.round == number} == names for number in {b.round for b in counted})
    if status != "running" and whole:
        update["conclusion"] = conclude(start.experiment, blocks, start.seed, start.quick)
    return start.model_copy(update=update)


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that a run ends in order; a second Ctrl-C ends it at once."""
    stop = threading.Event()
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in former:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)

"""One run of one day from beginning to end: plan, execute, save after every block, conclude."""

import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from costlab.lab import environment, experiment, left_behind, noise, price_sheet, quiet, result, resuming, runner
from costlab.lab.block import Block
from costlab.lab.catalogue import ROOT, Day
from costlab.lab.conclusion import conclude
from costlab.lab.environment import Environment
from costlab.lab.errors import Interrupted, LabError
from costlab.lab.experiment import Experiment, FlagValue
from costlab.lab.load import run_load, used_for
from costlab.lab.marking import Marking
from costlab.lab.plan import plan
from costlab.lab.probes import Probes
from costlab.lab.result import Result
from costlab.lab.state import Stage
from costlab.lab.timeline import none_left, refuse_active, refuse_impossible
from costlab.stack import Stack
from costlab.stack.chaos import Chaos
from costlab.stack.control import Control
from costlab.stack.restarting import set_flags

_SPARE = 15.0  # seconds beyond a block, by which the load of a killed run has ended


@dataclass(frozen=True)
class Wish:
    """What a person asked for; None leaves it to the experiment (rounds) or to chance (seed).

    ``flags`` are set in every variant. ``noise``: whether the noise floor is measured first; None: if the run is a full
    one, the first of its date (UTC) on this machine.
    """

    quick: bool = False
    rounds: int | None = None
    seed: int | None = None
    generator: str = "auto"
    flags: Mapping[str, FlagValue] = field(default_factory=dict)
    noise: bool | None = None


@dataclass(frozen=True)
class Place:
    """Where a run takes place: ``stop`` ends it, ``runs`` is where its result goes."""

    stack: Stack
    listener: runner.Listener
    stop: threading.Event
    runs: Path = result.RUNS
    load: runner.RunLoad = run_load


def run_day(day: Day, wish: Wish, place: Place) -> tuple[Path, Result]:
    """Run ``day`` and return the result and its file. An interrupted or failed run leaves its finished blocks there."""
    start = _begin(day, wish, place)
    floor = noise.today(day, start, place.runs)
    first = wish.noise or (wish.noise is None and floor is None and not wish.quick)
    start = start.model_copy(update={"noise": floor, "awaits_floor": bool(first)})
    return _go(day, start, result.path_for(day, start.started, place.runs), place)


def run_noise(day: Day, wish: Wish, place: Place) -> tuple[Path, Result]:
    """Run the baseline of ``day`` against itself; the result says what this machine reports for no change at all."""
    start = _twins(_begin(day, wish, place))
    path = result.path_for(day, start.started, place.runs / noise.FOLDER)
    return path, _carry_out(start, path, place)


def resume(day: Day, path: Path, place: Place) -> tuple[Path, Result]:
    """Go on with the run in ``path``, or LabError says why that would be another run."""
    stored = result.load(path)
    price_sheet.check()
    flags = _control(place).flags()
    resuming.check(stored, experiment.load(day.file), _here(stored.experiment, stored.generator, place), flags)
    start = stored.model_copy(
        update={"status": "running", "conclusion": None, "resumed": [*stored.resumed, result.now()]}
    )
    place.listener.said(
        f"going on with the {'noise ' if stored.twins else ''}run of {stored.started}: "
        f"{len(start.blocks)} of {start.planned_blocks} blocks are there already"
    )
    return _go(day, start, path, place)


def _begin(day: Day, wish: Wish, place: Place) -> Result:
    """All that is known of a run before its first block."""
    price_sheet.check()
    declared = experiment.load(day.file).with_flags(wish.flags)
    refuse_impossible(declared.faults, place.stack)
    flags = _standing(declared, place)
    form = declared.form(wish.quick)
    if wish.rounds is not None:
        form = form.model_copy(update={"count": wish.rounds})
    return Result(
        status="running",
        day=day.slug,
        started=result.now(),
        seed=random.SystemRandom().randrange(2**32) if wish.seed is None else wish.seed,
        quick=wish.quick,
        form=form,
        experiment=declared,
        environment=_here(declared, wish.generator, place),
        planned_blocks=form.count * len(declared.variants),
        blocks=[],
        generator=wish.generator,
        given_flags=dict(wish.flags),
        flags_before=flags,
    )


def _control(place: Place) -> Control:
    return Control(place.stack.internal_urls(), place.stack.token())


def _here(declared: Experiment, generator: str, place: Place) -> Environment:
    return environment.describe(place.stack, used_for(ROOT / declared.load.traffic, generator))


def _standing(declared: Experiment, place: Place) -> dict[str, FlagValue]:
    """The flags before the run, as a person left them; what is not at its default is said."""
    control = _control(place)
    if left := left_behind.by_a_killed_run(control.flags(), place.runs, place.stack.name):
        place.listener.said(f"put back, as a run that was killed had found them: {left_behind.words(left)}")
        set_flags(place.stack, left)
    flags = control.flags()
    if changed := left_behind.not_at_default(flags, declared):
        place.listener.said(f"not at their defaults, here and in variants: {left_behind.words(changed)}")
    return flags


def _twins(start: Result) -> Result:
    """The A/A run of a run: of the same time, seed and flags."""
    declared, form = noise.twins(start.experiment), noise.form(start.form)
    update = {"twins": True, "experiment": declared, "form": form, "planned_blocks": 2 * form.count}
    return start.model_copy(update=update | {"noise": None, "awaits_floor": False})


def _go(day: Day, start: Result, path: Path, place: Place) -> tuple[Path, Result]:
    """The noise floor, if it is still to be measured, then the run itself."""
    if start.awaits_floor:
        start = _with_floor(day, start, path, place)
    if start.noise is not None:
        for text in (noise.line(start.noise), *noise.outlived(start)):
            place.listener.said(text)
    return path, _carry_out(start, path, place)


def _with_floor(day: Day, start: Result, path: Path, place: Place) -> Result:
    """``start`` with the noise floor, measured now. Its file is there first, so that --resume finds seed and rounds."""
    place.listener.said("first the noise floor of this machine today: the baseline against itself")
    floor_path, new = result.path_for(day, start.started, place.runs / noise.FOLDER), not path.exists()
    result.save(start, path)
    try:
        measured = _floor_run(day, start, floor_path, place)
    except BaseException as error:
        _leave(start, [], path, error, worth=not new or floor_path.exists())
        raise
    if why := noise.spoilt(measured):
        text = f"the A/A run was spoilt ({'; '.join(why)})"
        place.listener.said(f"no noise floor: {text}")
        return start.model_copy(update={"awaits_floor": False, "no_floor": text})
    return start.model_copy(update={"awaits_floor": False, "noise": noise.of(measured)})


def _floor_run(day: Day, start: Result, path: Path, place: Place) -> Result:
    """The A/A run in ``path``: as it is, gone on with, or begun."""
    if not path.exists():
        return _carry_out(_twins(start), path, place)
    stored = result.load(path)
    return stored if stored.status == "complete" else resume(day, path, place)[1]


def _carry_out(start: Result, path: Path, place: Place) -> Result:
    """Execute what of the plan is missing. The file holds every finished block at any time, so a kill loses one."""
    blocks, new = list(start.blocks), not path.exists()
    result.forget_halves(path)
    result.save(start, path)
    place.listener.begun(start.experiment, start.form)
    if start.given_flags:
        place.listener.said(f"set in every variant: {left_behind.words(start.given_flags)}")

    def keep(block: Block) -> None:
        blocks.append(block)
        result.save(_so_far(start, blocks, "running"), path)

    try:
        _execute(start, place, keep)
    except BaseException as error:
        if _leave(start, blocks, path, error, worth=bool(blocks) or not new):
            place.listener.said(f"{len(blocks)} finished blocks are saved in {path}; --resume goes on with them")
        raise
    finished = _so_far(start, blocks, "complete")
    result.save(finished, path)
    return finished


def _leave(start: Result, blocks: list[Block], path: Path, error: BaseException, *, worth: bool) -> bool:
    """Leave a run that has ended before its time as one to go on with; no file if it is not ``worth`` that."""
    if not worth:
        path.unlink()
        return False
    status = "interrupted" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"
    result.save(_so_far(start, blocks, status), path)
    return True


def _execute(start: Result, place: Place, keep: Callable[[Block], None]) -> None:
    control = _control(place)
    chaos = Chaos(place.stack)
    if start.resumed:
        none_left(chaos)  # a run that was killed may have left one, which would end by itself only later
    else:
        refuse_active(chaos)
    _refuse_rollouts(control)
    quiet.wait(control, start.form.settle_seconds + start.form.block_seconds + _SPARE, place.listener.said, place.stop)
    with (
        closing(Probes(place.stack, control)) as probes,
        closing(Marking(start.day, place.listener, control)) as listener,
    ):
        place.listener.said(f"database queries are counted by {probes.query_source}")
        stage = Stage(place.stack, control, start.experiment, partial(set_flags, place.stack), start.flags_before)
        if stage.restarts:
            place.listener.said(f"before every block these restart: {', '.join(stage.restarts)}")
        bench = runner.Bench(
            stack=place.stack,
            stage=stage,
            chaos=chaos,
            probes=probes,
            experiment=start.experiment,
            form=start.form,
            listener=listener,
            stop=place.stop,
            generator=start.generator,
            load=place.load,
        )
        planned = plan(start.experiment.names(), start.form.count, start.seed)
        runner.run(bench, planned, keep, start.blocks)


def _refuse_rollouts(control: Control) -> None:
    """LabError if some users get another value than the flags say: a run would measure the mixture."""
    if running := control.rollouts():
        shares = [f"{flag}={one['value']} for {one['percent']:g} % of the users" for flag, one in running.items()]
        raise LabError(f"a rollout is in force: {'; '.join(shares)}; end it (costlab rollout abort)")


def _so_far(start: Result, blocks: list[Block], status: str) -> Result:
    """``start`` with the blocks there are; concluded once it runs no longer and a round is complete."""
    update = {"status": status, "blocks": list(blocks)}
    counted = [block for block in blocks if not block.repeated]
    names = set(start.experiment.names())
    whole = any({b.variant for b in counted if b.round == number} == names for number in {b.round for b in counted})
    if status != "running" and whole:
        # Of identical variants nothing is claimed that a floor could qualify.
        floors = {} if start.twins else None if start.noise is None else start.noise.floors
        said = conclude(start.experiment, blocks, start.seed, start.quick, floors=floors, no_floor=start.no_floor)
        update["conclusion"] = said.model_copy(update={"caveats": [*said.caveats, *noise.outlived(start)]})
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

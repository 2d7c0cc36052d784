"""``costlab run|new-day|demo``: run a day on a stack, or write one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from costlab.cli import run_all
from costlab.cli.options import Misused, Target, assignments
from costlab.cli.stored import readable
from costlab.lab import catalogue, experiment, noise, report, result, table
from costlab.lab.errors import LabError
from costlab.lab.experiment import FlagValue
from costlab.lab.load import GENERATORS
from costlab.lab.new_day import new_day
from costlab.lab.progress import Progress
from costlab.lab.result import Result
from costlab.lab.session import Place, Wish, resume, run_day, run_noise, stopped_by_signals
from costlab.service.flags import BadFlagValue, Registry, UnknownFlag
from costlab.stack import Stack, open_stack, seeing
from costlab.stack.lock import alone_or_refused

DEMO_DAY = "11"


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    for name, command in (("run", run), ("new-day", new), ("demo", demo)):
        app.command(name)(command)


def run(
    day: Annotated[str, typer.Argument(help="A day by number or name: 11, 11-caching or caching; or all.")],
    path: Annotated[Path | None, typer.Argument(metavar="[RESULT]", help="With --resume: which run.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter blocks; the verdict says so.")] = False,
    rounds: Annotated[int | None, typer.Option(min=1, max=200, help="Rounds instead of the day's own.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="The same seed plans the same run.")] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", metavar="FLAG=VALUE", help="A flag for every variant; repeatable.")
    ] = None,
    target: Target = "local",
    generator: Annotated[str | None, typer.Option(help=f"Load generator: {', '.join(GENERATORS)}.")] = None,
    resumed: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an interrupted or killed run: the day's latest, or RESULT, or all."),
    ] = False,
    floor: Annotated[
        bool | None,
        typer.Option(
            "--noise/--no-noise",
            help="Only the noise floor: the baseline against itself. A day's first full run measures it unasked.",
        ),
    ] = None,
    up: Annotated[
        bool, typer.Option("--up", help="Start what of the stack does not run; stop it afterwards if none of it did.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="With --up: leave the stack running.")] = False,
) -> None:
    """Run a day on a stack: table before and after, verdict, bill, a result file and an HTML report."""
    console = Console()
    if resumed:
        fixed = {"--quick": quick, "--rounds": rounds, "--seed": seed is not None, "--set": given}
        _refuse(fixed | {"--generator": generator is not None, "--noise or --no-noise": floor is not None})
        if day == "all":
            _refuse({"RESULT": path})
            asked = run_all.remembered(result.RUNS)
            with _running(open_stack(target), console, start=up, keep=keep) as stack:
                _every_day(asked, stack, console)
            return
        found, path = _unfinished(day, path)
        with _running(open_stack(target), console, start=up, keep=keep) as stack:
            _resume_and_show(found, path, stack, console)
        return
    if path is not None:
        raise Misused(f"{path}: a result is only named to go on with it (--resume)")
    if generator is not None and generator not in GENERATORS:
        raise Misused(f"--generator is {generator!r}; allowed: {', '.join(GENERATORS)}")
    wish = Wish(quick, rounds, seed, generator or "auto", _flags(given or []), noise=False if floor is False else None)
    chosen = None if day == "all" else catalogue.find(day)
    if chosen is not None:
        experiment.load(chosen.file).with_flags(wish.flags)
    with _running(open_stack(target), console, start=up, keep=keep) as stack:
        if chosen is not None:
            _run_and_show(chosen, wish, stack, console, only_noise=floor is True)
            return
        asked = run_all.Asked.now(wish, only_noise=floor is True)
        run_all.remember(asked, result.RUNS)
        _every_day(asked, stack, console)


def new(
    number: Annotated[int, typer.Argument(help="1 to 99, and not taken.")],
    title: Annotated[str, typer.Argument(help="What it is about; its folder is named after it.")],
) -> None:
    """Write a new day that runs as it stands: experiments/NN-title with experiment.toml and lesson."""
    made = new_day(number, title)
    typer.echo(made.file)
    typer.echo(made.folder / "README.md")
    typer.echo(f"costlab run {number} --quick runs it; then make it yours")


def demo() -> None:
    """What is a cache worth? Starts a stack unless one runs, runs day 11 in its quick form, stops what it started."""
    console = Console()
    day = catalogue.find(DEMO_DAY)
    experiment.load(day.file)
    with _running(open_stack("local"), console, start=True, keep=False) as stack:
        _run_and_show(day, Wish(quick=True), stack, console)


@contextmanager
def _running(stack: Stack, console: Console, *, start: bool, keep: bool) -> Iterator[Stack]:
    """A running stack, ours alone; one that was started here is stopped again unless it is to be kept."""
    with alone_or_refused(stack.folder / "run.lock", "running an experiment on this stack"):
        yield from _started(stack, console, start=start, keep=keep)


def _started(stack: Stack, console: Console, *, start: bool, keep: bool) -> Iterator[Stack]:
    rows = stack.status()
    away = [row.name for row in rows if not row.healthy and row.name not in seeing.NAMES]
    partly = any(row.healthy for row in rows)
    if away and not start:
        raise LabError(_not_up(stack.name, away if partly else []))
    if away and not partly:
        yield from _for_the_run_only(stack, console, keep=keep)
        return
    if away:
        # A run that was killed in the middle of a restart leaves its service stopped.
        _up(stack, console)
    if beside := [row.name for row in rows if stack.name == "local" and row.name in seeing.NAMES]:
        console.print(
            f"{', '.join(beside)} take part of this machine while it is measured; a stack without: costlab down, "
            "costlab up --no-seeing",
            style="yellow",
        )
    yield stack


def _not_up(target: str, away: list[str]) -> str:
    if not away:
        return f"no {target} stack is up: start one (costlab up --target {target}), or add --up"
    missing = f"{', '.join(away)} {'is' if len(away) == 1 else 'are'} not ready"
    return f"the {target} stack is only partly up, {missing}: costlab up --target {target}, or add --up"


def _for_the_run_only(stack: Stack, console: Console, *, keep: bool) -> Iterator[Stack]:
    # Ended from outside, the stack is stopped too, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _up(stack, console)
        yield stack
    finally:
        if not keep:
            stack.down()
            console.print("the stack is stopped")


def _up(stack: Stack, console: Console) -> None:
    stack.up(lambda text: console.print(text, highlight=False))


def _refuse(options: dict[str, object]) -> None:
    if given := [name for name, value in options.items() if value]:
        raise Misused(f"a run is resumed as it was begun: leave out {', '.join(given)}")


def _unfinished(day: str, path: Path | None) -> tuple[catalogue.Day, Path]:
    """The run to go on with: the one named, in either place, or the day's latest that is not complete.

    A run comes before its noise run, which has the same name and is gone on with first (session.py).
    """
    path = Path(day) if path is None and day.endswith(".json") else path
    if path is not None:
        found = catalogue.find(result.load(path).day)
        if not day.endswith(".json") and catalogue.find(day) != found:
            raise LabError(f"{path} is a run of {found.slug}, not of day {day}")
        return found, path
    found = catalogue.find(day)
    folders = [result.RUNS / noise.FOLDER / found.slug, result.RUNS / found.slug]
    kept = [(path.name, number, path) for number, folder in enumerate(folders) for path in folder.glob("*.json")]
    for path, stored in readable(path for _, _, path in sorted(kept, reverse=True)):
        if stored.status != "complete":
            return found, path
    raise LabError(f"no run of {found.slug} in {result.RUNS / found.slug} is left unfinished")


def _flags(given: list[str]) -> dict[str, FlagValue]:
    """The flags of --set, typed."""
    try:
        return Registry.load().parse(assignments(given, "cache.ttl=60"))
    except (Misused, UnknownFlag, BadFlagValue) as error:
        raise Misused(f"--set: {error}") from error


def _run_and_show(day: catalogue.Day, wish: Wish, stack: Stack, console: Console, only_noise: bool = False) -> Result:
    with _watched(stack, console) as place:
        path, finished = run_noise(day, wish, place) if only_noise else run_day(day, wish, place)
    _show(finished, path, console)
    return finished


def _resume_and_show(day: catalogue.Day, path: Path, stack: Stack, console: Console) -> Result:
    with _watched(stack, console) as place:
        path, finished = resume(day, path, place)
    _show(finished, path, console)
    return finished


def _every_day(asked: run_all.Asked, stack: Stack, console: Console) -> None:
    def run_one(day: catalogue.Day) -> Result:
        path = asked.latest(day, result.RUNS)
        if path is None:
            return _run_and_show(day, asked.wish, stack, console, asked.only_noise)
        stored = result.load(path)
        if stored.status != "complete":
            return _resume_and_show(day, path, stack, console)
        console.print(f"complete already: {path}", highlight=False, soft_wrap=True)
        return stored

    if not run_all.run_all(catalogue.days(), run_one, console):
        raise typer.Exit(1)
    run_all.forget(result.RUNS)


@contextmanager
def _watched(stack: Stack, console: Console) -> Iterator[Place]:
    """Where a run takes place, shown as it goes, ended in order by Ctrl-C."""
    progress = Progress(console)
    with stopped_by_signals() as stop, progress:
        yield Place(stack, progress, stop, result.RUNS)


def _show(finished: Result, path: Path, console: Console) -> None:
    table.show(finished, console)
    if finished.twins and finished.conclusion is not None:
        why = noise.spoilt(finished)
        console.print(f"no noise floor: {'; '.join(why)}" if why else noise.line(noise.of(finished)), highlight=False)
    page = path.with_suffix(".html")
    report.write(finished, page)
    console.print(f"result  {path}", highlight=False, soft_wrap=True)
    console.print(f"report  {page}", highlight=False, soft_wrap=True)

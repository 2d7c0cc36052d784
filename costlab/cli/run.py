"""``costlab run|demo``: run a day on a stack."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from costlab.lab import catalogue, experiment, report, table
from costlab.lab.errors import LabError
from costlab.lab.load import GENERATORS
from costlab.lab.progress import Progress
from costlab.lab.session import Wish, run_day, stopped_by_signals
from costlab.stack import Stack, open_stack
from costlab.stack.lock import alone_or_refused

DEMO_DAY = "11"

Target = Annotated[str, typer.Option(help="Where the stack runs: local or compose.")]


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    for name, command in (("run", run), ("demo", demo)):
        app.command(name)(command)


def run(
    day: Annotated[str, typer.Argument(help="A day by number or name: 11, 11-caching or caching.")],
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter blocks; the verdict says so.")] = False,
    rounds: Annotated[int | None, typer.Option(min=1, max=200, help="Rounds instead of the day's own.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="The same seed plans the same run.")] = None,
    target: Target = "local",
    generator: Annotated[str, typer.Option(help=f"Load generator: {', '.join(GENERATORS)}.")] = "auto",
    up: Annotated[bool, typer.Option("--up", help="Start the stack if none runs, and stop it afterwards.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="With --up: leave the stack running.")] = False,
) -> None:
    """Run a day on a stack: table before and after, verdict, bill, a result file and an HTML report."""
    console = Console()
    wish = Wish(quick=quick, rounds=rounds, seed=seed, generator=generator)
    found = catalogue.find(day)
    experiment.load(found.file)
    with _running(open_stack(target), console, start=up, keep=keep) as stack:
        _run_and_show(found, wish, stack, console)


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
    if any(service.healthy for service in stack.status()):
        yield stack
        return
    if not start:
        raise LabError(f"no {stack.name} stack is up: start one (costlab up --target {stack.name}), or add --up")
    # Ended from outside, the stack is stopped too, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        stack.up(lambda text: console.print(text, highlight=False))
        yield stack
    finally:
        if not keep:
            stack.down()
            console.print("the stack is stopped")


def _run_and_show(day: catalogue.Day, wish: Wish, stack: Stack, console: Console) -> None:
    declared = experiment.load(day.file)
    form = declared.form(wish.quick)
    progress = Progress(console, declared, form.block_seconds + form.settle_seconds)
    with stopped_by_signals() as stop, progress:
        path, finished = run_day(day, wish, stack, progress, stop)
    table.show(finished, console)
    page = path.with_suffix(".html")
    report.write(finished, page)
    console.print(f"result  {path}", highlight=False, soft_wrap=True)
    console.print(f"report  {page}", highlight=False, soft_wrap=True)

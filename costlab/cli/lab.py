"""``costlab run|report|price|days|demo``: run a day, look at its result, put a price on it."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from costlab.lab import bill, catalogue, experiment, price_sheet, report, result, table, words
from costlab.lab.conclusion import DEFAULT_SHEET
from costlab.lab.errors import LabError
from costlab.lab.load import GENERATORS
from costlab.lab.progress import Progress
from costlab.lab.session import Wish, run_day, stopped_by_signals
from costlab.stack import Stack, open_stack
from costlab.stack.lock import alone_or_refused

DEMO_DAY = "11"

Target = Annotated[str, typer.Option(help="Where the stack runs: local or compose.")]
ResultFile = Annotated[Path, typer.Argument(metavar="RESULT", help="A result file, runs/DAY/TIME.json.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    for name, command in (("run", run), ("report", rebuild), ("price", price), ("days", days), ("demo", demo)):
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


def rebuild(
    path: ResultFile,
    output: Annotated[Path | None, typer.Option(help="Where the report goes; beside the result without it.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw what `run` printed, as SVG, into this file.")] = None,
) -> None:
    """Rebuild the HTML report of a result, from its file alone."""
    target = output or path.with_suffix(".html")
    if target.resolve() == path.resolve():
        raise LabError(f"{path} is the result itself; the report needs another place (--output)")
    stored = result.load(path)
    report.write(stored, target)
    typer.echo(target)
    if picture is not None:
        picture.write_text(table.picture(stored))
        typer.echo(picture)


def price(
    path: ResultFile,
    sheet: Annotated[str, typer.Option(help="A price sheet of infra/prices, without .toml.")] = DEFAULT_SHEET,
    daily_users: Annotated[float | None, typer.Option(min=1, help="Users a day.")] = None,
    requests_per_user: Annotated[float | None, typer.Option(min=0.001, help="Requests per user and day.")] = None,
    peak_factor: Annotated[float | None, typer.Option(min=1, help="The busiest hour over the mean hour.")] = None,
    as_json: AsJson = False,
) -> None:
    """Price a stored result again, without running anything."""
    stored = result.load(path)
    overrides = {"daily_users": daily_users, "requests_per_user": requests_per_user, "peak_factor": peak_factor}
    given = bill.changes(price_sheet.load_assumptions(), overrides)
    priced = bill.bill(stored.experiment, stored.blocks, sheet, given, stored.seed)
    if priced is None:
        raise LabError(f"{path}: no complete round with successful requests, so there is nothing to price")
    if as_json:
        typer.echo(priced.model_dump_json(indent=2))
        return
    console = Console()
    console.print(table.bill_table(priced, stored.experiment.names()))
    console.print(table.bill_words(priced), highlight=False)


def days(as_json: AsJson = False) -> None:
    """The days there are, and what the latest complete run of each said."""
    rows = [_tracked(day) for day in catalogue.days()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    shown = Table("day", "question", "latest verdict", "change", "USD a month", "commit", box=box.SIMPLE_HEAD)
    for row in rows:
        shown.add_row(*(str(row[key]) for key in ("day", "question", "verdict", "change", "usd", "commit")))
    Console().print(shown)


def _tracked(day: catalogue.Day) -> dict[str, str]:
    row = {"day": day.slug, "question": experiment.load(day.file).question}
    row |= dict.fromkeys(("verdict", "change", "usd", "commit"), "-")
    concluded = [one for one in _results(day) if one.status == "complete" and one.conclusion is not None]
    if not concluded:
        return row
    latest = concluded[-1]
    primary = latest.experiment.primary
    effect = latest.conclusion.effect(primary.metric, primary.variant)
    quick = " (quick)" if latest.quick else ""
    row["verdict"] = latest.conclusion.verdict.word + quick
    row["change"] = f"{words.title(primary.metric)} {words.change(effect.ratio)}"
    row["commit"] = (latest.environment.commit or "-")[:9]
    if latest.conclusion.bill is not None:
        row["usd"] = words.dollars(latest.conclusion.bill.differences[primary.variant].usd, sign=True)
    return row


def _results(day: catalogue.Day) -> Iterator[result.Result]:
    """The results of a day, oldest first. A damaged one is told of and does not hide the others."""
    for path in sorted((result.RUNS / day.slug).glob("*.json")):
        try:
            yield result.load(path)
        except LabError as error:
            typer.echo(f"costlab: {error}", err=True)


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

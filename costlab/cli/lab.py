"""``costlab report|price|days``: look at the result of a day, put a price on it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from costlab.cli import run
from costlab.lab import bill, catalogue, experiment, price_sheet, report, result, table, words
from costlab.lab.conclusion import DEFAULT_SHEET
from costlab.lab.errors import LabError

ResultFile = Annotated[Path, typer.Argument(metavar="RESULT", help="A result file, runs/DAY/TIME.json.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``, and those that run something (run.py)."""
    run.register(app)
    for name, command in (("report", rebuild), ("price", price), ("days", days)):
        app.command(name)(command)


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
    console.print(table.assumed_words(priced), highlight=False)


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

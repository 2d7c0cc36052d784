"""``costlab report|price``: look at the result of a day, put a price on it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from costlab.cli import results, run
from costlab.cli.options import AsJson
from costlab.cli.sheet import SheetName, asked_for
from costlab.lab import bill, price_sheet, report, result, table
from costlab.lab.conclusion import DEFAULT_SHEET
from costlab.lab.errors import LabError

ResultFile = Annotated[Path, typer.Argument(metavar="RESULT", help="A result file, runs/DAY/TIME.json.")]


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``, those that run something (run.py) and those about several results (results.py)."""
    run.register(app)
    for name, command in (("report", rebuild), ("price", price)):
        app.command(name)(command)
    results.register(app)


def rebuild(
    path: ResultFile,
    output: Annotated[Path | None, typer.Option(help="Where the report goes; beside the result without it.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw what `run` printed, as SVG, into this file.")] = None,
) -> None:
    """Rebuild the HTML report of a result, from its file alone."""
    stored = result.load(path)
    target = output or path.with_suffix(".html")
    for option, place in (("--output", target), ("--picture", picture)):
        if place is not None and place.resolve() == path.resolve():
            raise LabError(f"{path} is the result itself; {option} needs another place")
    if picture is not None and picture.resolve() == target.resolve():
        raise LabError(f"{target} is the report; --picture needs another place")
    report.write(stored, target)
    typer.echo(target)
    if picture is not None:
        result.write_whole(picture, table.picture(stored))
        typer.echo(picture)


def price(
    path: ResultFile,
    sheet: SheetName = DEFAULT_SHEET,
    daily_users: Annotated[float | None, typer.Option(min=1, help="Users a day.")] = None,
    requests_per_user: Annotated[float | None, typer.Option(min=0.001, help="Requests per user and day.")] = None,
    peak_factor: Annotated[float | None, typer.Option(min=1, help="The busiest hour over the mean hour.")] = None,
    as_json: AsJson = False,
) -> None:
    """Price a stored result again, without running anything."""
    asked_for(sheet)  # a wrong name is told before anything is read
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

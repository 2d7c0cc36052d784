"""``costlab days|compare``: what the days said, and two results side by side."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

from costlab.cli.options import AsJson
from costlab.cli.stored import skipped
from costlab.lab import catalogue, comparison, generated, result, tracker

ResultFile = Annotated[Path, typer.Argument(metavar="RESULT", help="A result file, runs/DAY/TIME.json.")]
ROOT = catalogue.ROOT


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.command("days")(days)
    app.command("compare")(compare)


def days(
    mine: Annotated[bool, typer.Option("--mine", help="From runs/, what ran here, not from benchmarks/.")] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Refresh the README's table and every lesson's outcome, from benchmarks/.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The tracker: every day, what it said, its measured impact with its interval, the bill's change, the commit."""
    if write and mine:
        raise typer.BadParameter("README and lessons show reference results only", param_hint="--mine")
    tracked = tracker.lines(result.RUNS, damaged=skipped) if mine else tracker.lines()
    if write:
        for file, text in list(generated.documents(tracked, ROOT)):
            result.write_whole(file, text)
            typer.echo(file)
        return
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(line) for line in tracked], indent=2, default=str))
        return
    names = ("day", "topic", "status", "impact", "p", "bill", "commit")
    shown = Table(
        Column("day", no_wrap=True),
        "topic",
        "status",
        "measured impact",
        "p, Holm",
        "USD a month",
        "commit",
        box=box.SIMPLE_HEAD,
    )
    for line in tracked:
        shown.add_row(*(getattr(line, name) for name in names))
    Console().print(shown)


def compare(a: ResultFile, b: ResultFile, as_json: AsJson = False) -> None:
    """Two results of one day side by side; refused, with the reasons, where they do not measure the same."""
    compared = comparison.compare(result.load(a), result.load(b))
    if as_json:
        typer.echo(compared.model_dump_json(indent=2))
        return
    comparison.show(compared, Console())

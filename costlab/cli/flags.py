"""``costlab flags list|set|reset``: look at the knobs of a running stack and turn them."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from costlab.cli.options import AsJson, Misused, Target, assignments
from costlab.service.flags import BadFlagValue, Registry, UnknownFlag
from costlab.stack import open_stack, restarting
from costlab.stack.control import Control

commands = typer.Typer(help="Look at the knobs of a running stack and turn them.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.add_typer(commands, name="flags")


@commands.command("list")
def list_flags(target: Target = "local", as_json: AsJson = False) -> None:
    """Every flag: its value on the running stack (or its default when none runs), what is allowed, what it does."""
    values, rollouts = _values(target)
    rows = [
        {
            "name": flag.name,
            "value": values.get(flag.name, flag.default) if values else None,
            "default": flag.default,
            "allowed": flag.allowed(),
            "kind": flag.kind,
            "owner": flag.owner,
            "help": flag.help,
            "rollout": rollouts.get(flag.name),
        }
        for flag in Registry.load()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    console = Console()
    for row in rows:
        _show(row, console)
    if not values:
        console.print("no stack runs; these are the defaults", style="dim")


def _show(row: dict[str, object], console: Console) -> None:
    """One flag in three lines that fit a terminal; what is not at its default stands out."""
    value = row["default"] if row["value"] is None else row["value"]
    changed = value != row["default"]
    line = Text(f"{row['name']} = {value}", style="bold yellow" if changed else "bold")
    line.append(f"   default {row['default']}" if changed else "", style="dim")
    line.append("   restarts services" if row["kind"] == "restart" else "", style="dim")
    console.print(line)
    if row["rollout"] is not None:
        console.print(Padding(Text("{value} for {percent:g} % of the users".format(**row["rollout"])), (0, 0, 0, 4)))
    console.print(Padding(Text(str(row["help"])), (0, 0, 0, 4)))
    console.print(Padding(Text(f"allowed: {row['allowed']}", style="dim"), (0, 0, 0, 4)))


@commands.command("set")
def set_flags(
    given: Annotated[list[str], typer.Argument(help="cache.strategy=ttl cache.ttl=5 ...", metavar="FLAG=VALUE...")],
    target: Target = "local",
) -> None:
    """Set flags on the running stack; returns once every process has them. Those of kind restart restart services."""
    _change(target, assignments(given, "cache.strategy=ttl"))


@commands.command("reset")
def reset_flags(
    names: Annotated[list[str] | None, typer.Argument(help="Flags to reset; all of them without names.")] = None,
    target: Target = "local",
) -> None:
    """Put flags back to their defaults; returns once every process has them."""
    _change(target, dict.fromkeys(names or [flag.name for flag in Registry.load()]))


def _change(target: str, changes: dict[str, str | None]) -> None:
    try:
        Registry.load().parse(changes)
    except (UnknownFlag, BadFlagValue) as error:
        raise Misused(str(error)) from error
    revision, restarted = restarting.set_flags(open_stack(target), changes)
    if restarted:
        typer.echo(f"restarted: {', '.join(restarted)}")
    typer.echo(f"in force in every process (revision {revision})")


def _values(target: str) -> tuple[dict[str, object], dict[str, dict]]:
    """The values in force and what is being rolled out; nothing when no stack runs."""
    if not any(service.healthy for service in open_stack(target).status()):
        return {}, {}
    control = _control(target)
    return control.flags(), control.rollouts()


def _control(target: str) -> Control:
    stack = open_stack(target)
    return Control(stack.internal_urls(), stack.token())

"""``costlab chaos``: break a running stack on purpose, see what is broken, and get it back; ``list`` says how."""

import json
import re
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from costlab.cli.options import AsJson, Misused, Target, assignments
from costlab.cli.soak import soak
from costlab.lab import play as timed
from costlab.service.faults import DEFAULT_SECONDS, LONGEST_SECONDS, SHORTEST_SECONDS, Fault, Record, Registry
from costlab.stack import open_stack
from costlab.stack.chaos import Chaos

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")
_SECONDS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600}
# Where nothing means everything: an unset variable of a shell must not.
_NEVER_EMPTY = {
    "edge": "what the service calls, such as postgres; left out: requests that come in",
    "route": "a route such as /users/{id}; left out: all of them",
}

commands = typer.Typer(help="Break a running stack on purpose, see what is broken, get it back.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    commands.command()(soak)
    app.add_typer(commands, name="chaos")


@commands.command("list")
def list_faults(as_json: AsJson = False) -> None:
    """Every fault there is: where it fits, its parameters, what it does."""
    if as_json:
        typer.echo(json.dumps([_row(fault) for fault in Registry.load()], indent=2))
        return
    console = Console(highlight=False)
    for fault in Registry.load():
        console.print(Text(fault.name, style="bold").append(f"   {fault.level}: {', '.join(fault.at)}", style="dim"))
        console.print(Padding(Text(fault.help), (0, 0, 0, 4)))
        for line in _parameters(fault):
            console.print(Padding(Text(line, style="dim"), (0, 0, 0, 4)))


@commands.command()
def add(
    fault: Annotated[str, typer.Argument(help="One of costlab chaos list.")],
    parameters: Annotated[list[str] | None, typer.Argument(help="ms=200 ...", metavar="[NAME=VALUE]...")] = None,
    on: Annotated[str | None, typer.Option(help="The service, or one instance of it: users, users-2.")] = None,
    edge: Annotated[
        str | None, typer.Option(help="What it calls, in place of requests that come in: postgres, users.")
    ] = None,
    route: Annotated[str | None, typer.Option(help="Only requests of this route: /users/{id}.")] = None,
    rate: Annotated[str | None, typer.Option(help="The share of requests or calls it meets, up to 1.")] = None,
    seed: Annotated[
        str | None, typer.Option(help="What chance is drawn from; the same seed repeats. Drawn if not given.")
    ] = None,
    duration: Annotated[
        str | None, typer.Option("--for", help=f"How long: 30s, 5m, 1h; {DEFAULT_SECONDS:g}s if not given.")
    ] = None,
    target: Target = "local",
    as_json: AsJson = False,
) -> None:
    """Make a fault; returns once it is in force everywhere it has to be. It ends by itself."""
    words = {"on": on, "edge": edge, "route": route, "rate": rate, "seed": seed}
    document: dict[str, object] = {"fault": fault, "parameters": assignments(parameters or (), "ms=200")}
    record = Chaos(open_stack(target)).add(document | _given(words) | _ttl(fault, duration))
    if as_json:
        typer.echo(json.dumps(record.document(), indent=2))
    elif record.until > record.since:
        typer.echo(f"in force: {line(record, time.time())}")
    else:
        typer.echo(f"done: {record.words()}")


@commands.command()
def status(target: Target = "local", as_json: AsJson = False) -> None:
    """The faults in force, where, and for how long still."""
    now = time.time()
    active = Chaos(open_stack(target)).status()
    if as_json:
        typer.echo(json.dumps([_timed(record, now) for record in active], indent=2))
        return
    for record in active:
        typer.echo(line(record, now))
    if not active:
        typer.echo("no fault is active")


@commands.command()
def clear(
    identities: Annotated[list[str] | None, typer.Argument(help="Ids of faults; all of them without.")] = None,
    target: Target = "local",
) -> None:
    """End faults before their time; returns once they have ended."""
    chaos = Chaos(open_stack(target))
    for identity in identities or ():
        chaos.remove(identity)
    ended = len(identities) if identities else chaos.clear()
    typer.echo(f"{ended} fault{'' if ended == 1 else 's'} ended")


class Signal(StrEnum):
    """What a process is killed with."""

    KILL = "KILL"
    TERM = "TERM"


Victim = Annotated[str, typer.Argument(help="A service, or one instance of it: users, postgres, redis, users-2.")]


@commands.command()
def kill(
    service: Victim,
    signal: Annotated[Signal, typer.Option(help="KILL: at once; TERM: it may end in an orderly way.")] = Signal.KILL,
    wait: Annotated[bool, typer.Option("--wait", help="Return once it is back and healthy.")] = False,
    target: Target = "local",
) -> None:
    """Kill all processes of a service. The supervisor, or Docker, starts it again."""
    chaos = Chaos(open_stack(target))
    if wait:
        typer.echo(f"{service} was killed, and back after {chaos.kill(service, signal):.1f} s")
        return
    chaos.add({"fault": "kill" if signal is Signal.KILL else "terminate", "on": service})
    typer.echo(f"{service} got SIG{signal}; it is started again by itself")


@commands.command()
def pause(
    service: Victim,
    duration: Annotated[str, typer.Option("--for", help="How long: 5s, 1m.")] = "5s",
    target: Target = "local",
) -> None:
    """Let a service stand still: connections are taken, nothing is answered. It goes on by itself."""
    record = Chaos(open_stack(target)).add({"fault": "pause", "on": service, "ttl": _lifetime(duration)})
    typer.echo(f"paused: {line(record, time.time())}")


@commands.command()
def restart(service: Victim, target: Target = "local") -> None:
    """Stop a service in an orderly way and start it; returns once it is ready."""
    Chaos(open_stack(target)).add({"fault": "restart", "on": service})
    typer.echo(f"{service} was restarted and is ready")


@commands.command()
def play(
    file: Annotated[Path, typer.Argument(help="A TOML file of [[faults]], each with at and seconds.", metavar="FILE")],
    target: Target = "local",
) -> None:
    """Make several faults, each at its second; returns when the last is over. Ctrl-C ends those in force.

    FILE has tables as an experiment's: [[faults]] at = 2, seconds = 5, fault = "latency", on = "users",
    parameters = { ms = 100 }.
    """
    faults = timed.read_script(file)
    timed.play(Chaos(open_stack(target)), faults, typer.echo)


@commands.command()
def token(target: Target = "local") -> None:
    """What a request must bring to have a fault of its own: curl -H "X-Costlab-Token: $(costlab chaos token)"."""
    typer.echo(open_stack(target).token())


def line(record: Record, now: float) -> str:
    """A fault in a line: ``3f2a91c0  latency on users, ms=200, seed 7  41 s left``."""
    return f"{record.id}  {record.words()}   {record.left(now):.0f} s left"


def seconds(duration: str) -> float:
    """``90s``, ``1.5m`` or ``90`` in seconds."""
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise Misused(f"{duration!r} is no duration; allowed: 500ms, 30s, 5m, 1h")
    return float(found[1]) * _SECONDS[found[2]]


def _lifetime(duration: str) -> float:
    """Seconds that a fault may last."""
    asked = seconds(duration)
    if not SHORTEST_SECONDS <= asked <= LONGEST_SECONDS:
        raise Misused(f"--for cannot be {duration}; allowed: {SHORTEST_SECONDS:g}s to {LONGEST_SECONDS / 3600:g}h")
    return asked


def _given(words: dict[str, str | None]) -> dict[str, str]:
    """Those of ``words`` that somebody has written."""
    for name, allowed in _NEVER_EMPTY.items():
        if words[name] == "":
            raise Misused(f"--{name} is empty; allowed: {allowed}")
    return {name: value for name, value in words.items() if value is not None}


def _ttl(fault: str, duration: str | None) -> dict[str, float]:
    if duration is None:
        return {}
    if any(each.name == fault and not each.lasts for each in Registry.load()):
        raise Misused(f"{fault} takes no --for: it is over once it is done")
    return {"ttl": _lifetime(duration)}


def _parameters(fault: Fault) -> Sequence[str]:
    lines = [
        f"{name}={parameter.default}   {parameter.help}, {parameter.allowed()}"
        for name, parameter in fault.parameters.items()
    ]
    return [f"rate={fault.rate:g}", *lines] if fault.rate is not None else lines


def _row(fault: Fault) -> dict[str, object]:
    parameters = {
        name: {"default": parameter.default, "allowed": parameter.allowed(), "help": parameter.help}
        for name, parameter in fault.parameters.items()
    }
    return {
        "name": fault.name,
        "level": fault.level,
        "at": fault.at,
        "rate": fault.rate,
        "parameters": parameters,
        "help": fault.help,
    }


def _timed(record: Record, now: float) -> dict[str, object]:
    return record.document() | {"seconds_left": round(record.left(now), 3)}

"""``costlab config get|set|reset``: the configuration documents of a running stack's services."""

import json
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from costlab.cli.options import AsJson, Target, assignments
from costlab.failure import Failure
from costlab.stack import open_stack
from costlab.stack.control import Control

_EXAMPLE = "orders.max_page=20"
_ARRIVAL = {
    "push": "every process is told at once",
    "poll": "each process looks within {poll:g} s",
    "restart": "processes that start from now on read it (costlab restart {service})",
}

commands = typer.Typer(
    help="Look at the configuration documents of services and change them; service.config says how they arrive.",
    no_args_is_help=True,
)


class ConfigError(Failure):
    """A configuration document cannot be read or changed."""


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.add_typer(commands, name="config")


@commands.command("get")
def get(target: Target = "local", as_json: AsJson = False) -> None:
    """Every field: the value stored, what is allowed, what it does; and how many processes run with what is stored."""
    control = _control(target)
    documents = {service: _described(control, service, held) for service, held in control.configurations().items()}
    if as_json:
        typer.echo(json.dumps(documents, indent=2))
        return
    console = Console()
    for service, document in documents.items():
        for field in document["fields"]:
            _show(service, field, console)
        processes = document["processes"]
        current = processes.count(document["revision"])
        console.print(f"{service}: revision {document['revision']}, in {current} of {len(processes)} processes")


@commands.command("set")
def set_fields(
    given: Annotated[list[str], typer.Argument(help=f"{_EXAMPLE} ...", metavar="SERVICE.FIELD=VALUE...")],
    target: Target = "local",
    as_json: AsJson = False,
) -> None:
    """Change a document. It is refused as a whole when a value is not allowed, unless service.config_validation=off."""
    _change(target, {name: _typed(text) for name, text in assignments(given, _EXAMPLE).items()}, as_json)


@commands.command("reset")
def reset_fields(
    names: Annotated[list[str] | None, typer.Argument(help="SERVICE.FIELD ...; all of them without names.")] = None,
    target: Target = "local",
    as_json: AsJson = False,
) -> None:
    """Put fields back to their defaults, also those that no schema knows."""
    _change(target, dict.fromkeys(names) if names else None, as_json)


def _described(control: Control, service: str, held: Mapping) -> dict:
    stored = held["stored"]
    known = [{"name": name, "value": stored["document"][name], **field} for name, field in held["fields"].items()]
    return {
        "revision": stored["revision"],
        "processes": control.configuration_revisions(service),
        "fields": known,
    }


def _show(service: str, field: Mapping[str, object], console: Console) -> None:
    changed = field["value"] != field["default"]
    line = Text(f"{service}.{field['name']} = {json.dumps(field['value'])}", style="bold yellow" if changed else "bold")
    line.append(f"   default {field['default']}" if changed else "", style="dim")
    console.print(line)
    console.print(Padding(Text(str(field["help"])), (0, 0, 0, 4)))
    console.print(Padding(Text(f"allowed: {field['allowed']}", style="dim"), (0, 0, 0, 4)))


def _typed(text: str) -> object:
    """The value as JSON, or as the word that it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _change(target: str, changes: Mapping[str, object] | None, as_json: bool) -> None:
    """Apply ``changes``, named SERVICE.FIELD; None: put everything back."""
    control = _control(target)
    held = control.configurations()
    if changes is None:
        documents = {service: dict.fromkeys(found["stored"]["document"]) for service, found in held.items()}
    else:
        documents = _by_service(changes, list(held))
    revisions = {service: control.set_configuration(service, fields) for service, fields in documents.items()}
    if as_json:
        typer.echo(json.dumps(revisions))
        return
    flags = control.flags()
    for service, revision in revisions.items():
        arrival = _ARRIVAL[flags["service.config"]].format(poll=flags["service.config_poll"], service=service)
        typer.echo(f"{service}: stored as revision {revision}; {arrival}")


def _by_service(changes: Mapping[str, object], services: list[str]) -> dict[str, dict[str, object]]:
    documents: dict[str, dict[str, object]] = {}
    for name, value in changes.items():
        service, _, field = name.partition(".")
        if service not in services or not field:
            raise ConfigError(
                f"{name!r} names no document: SERVICE.FIELD with SERVICE {' or '.join(services)}, as {_EXAMPLE}"
            )
        documents.setdefault(service, {})[field] = value
    return documents


def _control(target: str) -> Control:
    stack = open_stack(target)
    return Control(stack.internal_urls(), stack.token())

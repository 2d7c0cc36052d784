"""What means the same in every command: --target, --json, and words such as cache.ttl=60."""

from collections.abc import Sequence
from typing import Annotated

import typer

from costlab.failure import Failure

Target = Annotated[
    str, typer.Option(help="Where the stack runs: local, compose, or the URL of the gateway of one that is up.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Misused(Failure):
    """The command line is wrong by itself, whatever runs or is stored."""

    exit_code = 2


def assignments(texts: Sequence[str], example: str) -> dict[str, str]:
    """The values of ``name=value`` by name, each of which may be given once."""
    values: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise Misused(f"{text!r} is not NAME=VALUE, for instance {example}")
        if name in values:
            raise Misused(f"{name} is given twice, {values[name]!r} and {value!r}; allowed: once")
        values[name] = value
    return values

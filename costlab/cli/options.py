"""Options that mean the same in every command."""

from typing import Annotated

import typer

Target = Annotated[
    str, typer.Option(help="Where the stack runs: local, compose, or the URL of the gateway of one that is up.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

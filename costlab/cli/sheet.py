"""``--sheet``: the price sheet that a bill is worked out with."""

from typing import Annotated

import typer

from costlab.cli.options import Misused
from costlab.lab import price_sheet
from costlab.lab.errors import LabError
from costlab.lab.price_sheet import Sheet

SheetName = Annotated[str, typer.Option("--sheet", help="A price sheet of infra/prices, without .toml.")]


def asked_for(name: str) -> Sheet:
    """The sheet of that name; Misused where there is none, LabError where its file cannot be used."""
    try:
        return price_sheet.load_sheet(name)
    except LabError as error:
        if name in price_sheet.sheet_names():
            raise
        raise Misused(str(error)) from error

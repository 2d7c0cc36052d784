"""What things cost and what a bill assumes: TOML files in infra/prices/, each price with its unit, source and date."""

from datetime import date
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, field_validator

from costlab.lab.catalogue import ROOT
from costlab.lab.errors import LabError
from costlab.lab.toml_file import Closed, read

PRICES = ROOT / "infra" / "prices"
_ASSUMPTIONS = "assumptions"

# No bill comes near these ends; beyond them is a slip of the keyboard, and far beyond them sums overflow.
NotNegative = Annotated[float, Field(ge=0, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e10)]
Busy = Annotated[float, Field(ge=0.001, le=1)]
Text = Annotated[str, Field(min_length=1)]
Unit = TypeVar("Unit", bound=str)
_UNDATED = "undated copy"


class Price(Closed, Generic[Unit]):
    """One row: the name on the invoice (FOCUS ServiceName), its unit, USD for one of them, where that was read."""

    service: Text
    unit: Unit
    price: NotNegative
    source: Text
    seen: Annotated[str, Field(pattern=rf"^\d{{4}}-\d{{2}}(-\d{{2}})?$|^{_UNDATED}$")]

    @field_validator("seen")
    @classmethod
    def _in_the_calendar(cls, seen: str) -> str:
        if seen != _UNDATED:
            date.fromisoformat(seen if seen.count("-") == 2 else f"{seen}-01")
        return seen


class Rows(Closed):
    """Everything a bill can hold, each in the unit that pricing.py counts.

    Only bills stored before logs were priced have no ``logs_gb``.
    """

    vcpu_hour: Price[Literal["vCPU-Hours"]]
    memory_gib_hour: Price[Literal["GB-Hours"]]
    database_vcpu_hour: Price[Literal["vCPU-Hours"]]
    database_gib_hour: Price[Literal["GiB-Hours"]]
    database_ssd_gib_month: Price[Literal["GiB-Months"]]
    redis_node_hour: Price[Literal["Node-Hours"]]
    egress_gb: Price[Literal["GB"]]
    load_balancer_hour: Price[Literal["Hours"]]
    load_balancer_lcu_hour: Price[Literal["LCU-Hours"]]
    traces_gb: Price[Literal["GB"]]
    logs_gb: Price[Literal["GB"]] | None = None


class Sheet(Closed):
    """A price sheet."""

    title: Text
    rows: Rows


class Assumptions(Closed):
    """What a bill cannot measure. Shares are of a provisioned vCPU at the peak."""

    daily_users: Positive
    requests_per_user: Positive
    peak_factor: Annotated[float, Field(ge=1, le=1e4)]
    utilisation: Busy
    database_utilisation: Busy
    replicas: Annotated[int, Field(ge=1, le=10_000)]
    database_memory_gib: NotNegative
    database_ssd_gib: NotNegative
    redis_nodes: Annotated[int, Field(ge=0, le=10_000)]
    free_egress_gb: NotNegative
    span_bytes: NotNegative
    vcpu_step: Annotated[float, Field(ge=0.001, le=1_000)]


def sheet_names(folder: Path = PRICES) -> list[str]:
    """The sheets there are, by file name."""
    return sorted(path.stem for path in folder.glob("*.toml") if path.stem != _ASSUMPTIONS)


def load_sheet(name: str, folder: Path = PRICES) -> Sheet:
    """The sheet infra/prices/NAME.toml."""
    if name not in sheet_names(folder):
        raise LabError(f"there is no price sheet {name!r}; there are: {', '.join(sheet_names(folder)) or 'none'}")
    path = folder / f"{name}.toml"
    sheet = read(path, Sheet)
    if sheet.rows.logs_gb is None:
        raise LabError(f"{path}: rows.logs_gb is missing")
    return sheet


def check(folder: Path = PRICES) -> None:
    """LabError if a file that a bill reads cannot be used: said before a run, not after it."""
    load_assumptions(folder)
    for name in sheet_names(folder):
        load_sheet(name, folder)


def load_assumptions(folder: Path = PRICES) -> Assumptions:
    """The assumptions every bill starts from."""
    return read(folder / f"{_ASSUMPTIONS}.toml", Assumptions)

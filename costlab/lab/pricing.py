"""Figures turned into USD per month. Pure: what was measured, a price sheet and assumptions in, rows out.

    mean rate λ = U·R/86400, peak λp = λ·F, requests per month N = U·R·30.4, hours per month 730
    compute   λp · CPU s per request / u · 730 · vCPU-hour        memory    PSS GiB · replicas · 730 · GiB-hour
    database  λp · its CPU s per request / u_db · 730 · vCPU-hour, plus its memory as measured and its disk as assumed
    redis     nodes · 730 · node-hour, for variants that use it    egress    max(0, N · bytes - free) · GB
    balancer  730 · (hour + LCU · LCU-hour), LCU = GB per hour    traces, logs    N · bytes per request · GB

U = 10,000 users a day with R = 100 requests each are λ = 11.6/s; at 5 ms of CPU per request, F = 4 and u = 0.6 that
is 0.39 vCPU, 11.4 USD a month on Fargate. Not in the bill: people, backups, reserved prices.
Rows carry FOCUS column names (focus.finops.org).
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from costlab.lab.price_sheet import Assumptions, Sheet
from costlab.lab.toml_file import Closed

HOURS = 730
DAYS = 30.4
Number = float | np.ndarray


@dataclass(frozen=True)
class Measured:
    """What one variant used per successful request (memory: as it stood). Arrays price many draws at once.

    ``database_gib`` and ``span_bytes`` (of all spans of a request) are None where they were not measured: then what
    is assumed stands in for them.
    """

    cpu_seconds: Mapping[str, Number]
    memory_gib: Number
    database_cpu_seconds: Number
    bytes: Number
    spans: Number
    redis: bool
    database_gib: Number | None = None
    span_bytes: Number | None = None
    log_bytes: Number = 0.0


class Row(Closed):
    """One line of a bill, under the column names of FOCUS."""

    ServiceName: str
    ChargeDescription: str
    ConsumedQuantity: float
    ConsumedUnit: str
    PricingQuantity: float
    PricingUnit: str
    ListUnitPrice: float
    ListCost: float
    EffectiveCost: float


def quantities(measured: Measured, given: Assumptions) -> dict[str, tuple[str, Number, Number]]:
    """For each row of a sheet: what it is for, the quantity used and the quantity paid for."""
    mean = given.daily_users * given.requests_per_user / 86_400
    peak = mean * given.peak_factor
    requests = given.daily_users * given.requests_per_user * DAYS
    cpu = sum(measured.cpu_seconds.values())
    traffic = requests * measured.bytes / 1e9
    balanced = HOURS * mean * 3600 * measured.bytes / 1e9
    memory = measured.memory_gib * HOURS
    database_gib = given.database_memory_gib if measured.database_gib is None else measured.database_gib
    span_bytes = measured.spans * given.span_bytes if measured.span_bytes is None else measured.span_bytes
    nodes = given.redis_nodes * HOURS if measured.redis else 0
    traces = requests * span_bytes / 1e9
    logs = requests * measured.log_bytes / 1e9
    database = measured.database_cpu_seconds
    return {
        "vcpu_hour": ("CPU of our services", mean * cpu * HOURS, peak * cpu / given.utilisation * HOURS),
        "memory_gib_hour": ("memory of our services", memory, memory * given.replicas),
        "database_vcpu_hour": (
            "CPU of PostgreSQL",
            mean * database * HOURS,
            peak * database / given.database_utilisation * HOURS,
        ),
        "database_gib_hour": ("memory of PostgreSQL", database_gib * HOURS, database_gib * HOURS),
        "database_ssd_gib_month": ("disk of PostgreSQL", given.database_ssd_gib, given.database_ssd_gib),
        "redis_node_hour": ("cache node", nodes, nodes),
        "egress_gb": ("bytes to users", traffic, np.maximum(0, traffic - given.free_egress_gb)),
        "load_balancer_hour": ("load balancer", HOURS, HOURS),
        "load_balancer_lcu_hour": ("load balancer, work", balanced, balanced),
        "traces_gb": ("traces", traces, traces),
        "logs_gb": ("logs", logs, logs),
    }


def rows(measured: Measured, sheet: Sheet, given: Assumptions) -> list[Row]:
    """The bill of one variant for a month; rows that come to nothing are left out."""
    result = []
    for key, (purpose, consumed, paid) in quantities(measured, given).items():
        price = getattr(sheet.rows, key)
        if consumed or paid:
            cost = float(paid) * price.price
            result.append(
                Row(
                    ServiceName=price.service,
                    ChargeDescription=purpose,
                    ConsumedQuantity=float(consumed),
                    ConsumedUnit=price.unit,
                    PricingQuantity=float(paid),
                    PricingUnit=price.unit,
                    ListUnitPrice=price.price,
                    ListCost=cost,
                    EffectiveCost=cost,
                )
            )
    return result


def total(measured: Measured, sheet: Sheet, given: Assumptions) -> Number:
    """USD per month."""
    paid = quantities(measured, given)
    return sum(amount * getattr(sheet.rows, key).price for key, (_, _, amount) in paid.items())


def idle(measured: Measured, sheet: Sheet, given: Assumptions) -> float:
    """USD per month before the first request: memory, disk, nodes, the balancer."""
    idle_cpu = dict.fromkeys(measured.cpu_seconds, 0.0)
    nothing = dict.fromkeys(("database_cpu_seconds", "bytes", "spans", "span_bytes", "log_bytes"), 0.0)
    nobody = replace(measured, cpu_seconds=idle_cpu, **nothing)
    return float(total(nobody, sheet, given))


def in_steps(measured: Measured, sheet: Sheet, given: Assumptions) -> float:
    """USD per month when each replica of a service pays for whole steps of a vCPU, at least one."""
    peak = given.daily_users * given.requests_per_user / 86_400 * given.peak_factor
    needed = [peak * float(cpu) / given.utilisation for cpu in measured.cpu_seconds.values()]
    smallest = given.replicas * given.vcpu_step
    steps = [max(1, math.ceil(vcpu / smallest - 1e-9)) * smallest for vcpu in needed]
    extra = (sum(steps) - sum(needed)) * HOURS * sheet.rows.vcpu_hour.price
    return float(total(measured, sheet, given)) + extra


def break_evens(before: Measured, after: Measured, sheet: Sheet, given: Assumptions) -> list[float]:
    """Requests per user and day at which both cost the same, between 0.1 and 1,000,000.

    There is one at most, unless bytes that are free up to a bound bend the line.
    """

    def difference(requests: float) -> float:
        busy = given.model_copy(update={"requests_per_user": requests})
        return float(total(after, sheet, busy)) - float(total(before, sheet, busy))

    grid = [10**exponent for exponent in np.arange(-1, 6.01, 0.1)]
    crossed = [pair for pair in itertools.pairwise(grid) if (difference(pair[0]) <= 0) != (difference(pair[1]) <= 0)]
    return [_bisect(difference, low, high) for low, high in crossed]


def _bisect(function, low: float, high: float) -> float:
    rising = function(low) <= 0
    for _ in range(60):
        middle = (low + high) / 2
        if (function(middle) <= 0) == rising:
            low = middle
        else:
            high = middle
    return float((low + high) / 2)

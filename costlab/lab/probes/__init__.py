"""Probes read figures at the source, just before and just after the measured stretch of a block.

reading = probes.before()      counters first, CPU last: the scrape itself is not counted
... load ...
rise = probes.after(reading)   CPU first, counters last
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from costlab.lab.block import Machine, Orders, Queries
from costlab.lab.metrics import DATASTORES
from costlab.lab.probes import counters, machine, sockets
from costlab.lab.probes.database import DatabaseProbe, Seen
from costlab.lab.probes.orders import OrdersProbe
from costlab.stack import Stack, replicas
from costlab.stack.control import Control


@dataclass(frozen=True)
class Reading:
    """Everything that rises, at one moment; ``memory`` and the flags as they stand."""

    at: float
    counters: Mapping[str, float]
    statements: Mapping[tuple, Seen]
    machine: machine.Totals
    cpu_seconds: Mapping[str, float]
    memory_bytes: Mapping[str, int]
    memory_kind: str
    last_order: int = 0


@dataclass(frozen=True)
class Rise:
    """What happened between two readings, and memory and its kind at the end."""

    elapsed: float
    counters: dict[str, float]
    queries: Queries
    machine: Machine
    cpu_seconds: dict[str, float]
    memory_bytes: dict[str, int]
    memory_kind: str
    time_wait: int | None = None
    orders: Orders | None = None


class Probes:
    """All probes of one stack."""

    def __init__(self, stack: Stack, control: Control) -> None:
        self._stack = stack
        self._control = control
        self._services = list(stack.internal_urls())
        self._counted = {*map(replicas.service_of, self._services), *DATASTORES}
        self._database = DatabaseProbe(stack.dsn())
        self._orders = OrdersProbe(stack.dsn("postgres"))

    @property
    def query_source(self) -> str:
        """Where database queries are counted, in words."""
        return self._database.source + (f" ({self._database.note})" if self._database.note else "")

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()
        self._orders.close()

    def before(self) -> Reading:
        """A reading whose own work falls before the stretch that follows."""
        rising = counters.read(self._control, self._services)
        last_order = self._orders.last()
        statements = self._database.read()
        return self._reading(rising, statements, last_order)

    def after(self, before: Reading) -> Rise:
        """What happened since ``before``."""
        quick = self._reading({}, {})
        statements = self._database.read()
        rising = counters.by_service(counters.rise(before.counters, counters.read(self._control, self._services)))
        # These come last: the status asks every service, and the orders wait for the worker.
        time_wait = sockets.time_wait(row.pid for row in self._stack.status() if row.pid)
        placed, lost = self._orders.since(before.last_order)
        return Rise(
            elapsed=quick.at - before.at,
            counters=rising,
            queries=self._database.queries(before.statements, statements, rising),
            machine=machine.between(before.machine, quick.machine),
            cpu_seconds=counters.rise(before.cpu_seconds, quick.cpu_seconds),
            memory_bytes=dict(quick.memory_bytes),
            memory_kind=quick.memory_kind,
            time_wait=time_wait,
            orders=Orders(placed=placed, lost=lost) if placed else None,
        )

    def _reading(self, rising: Mapping[str, float], statements: Mapping[tuple, Seen], last_order: int = 0) -> Reading:
        # What keeps a local stack running (its supervisor) is no part of the system under test.
        usage = {name: used for name, used in self._stack.usage().items() if name in self._counted}
        return Reading(
            at=time.monotonic(),
            counters=rising,
            statements=statements,
            machine=machine.read(),
            cpu_seconds={name: used.cpu_seconds for name, used in usage.items()},
            memory_bytes={name: used.memory_bytes for name, used in usage.items()},
            memory_kind="/".join(sorted({used.memory_kind for used in usage.values()})),
            last_order=last_order,
        )

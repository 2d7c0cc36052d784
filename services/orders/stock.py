"""Stock of a product: the one row that many want to change at once (flag ``orders.contention``).

The catalogue in memory keeps the stock it was loaded with; what is left now is what a reservation answers.
"""

import time
from dataclasses import dataclass
from random import SystemRandom

from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from costlab.resilience.backoff import BACKOFFS
from costlab.resilience.deadline import nearest
from costlab.resilience.retry import RETRIED, Retry
from costlab.service import context, metrics, validation
from costlab.service.database import Database
from costlab.service.flags import Flags
from costlab.service.openapi import operation
from costlab.service.problem import Conflict, Invalid, NotFound
from services.orders import idempotency
from services.orders.models import MAX_ID, MAX_QUANTITY
from services.orders.optimistic_update import Contended, optimistic_update

MAX_STOCK = 1_000_000
ATTEMPTS = 100
# As in the simulation of the source: one attempt takes about the base.
BASE_SECONDS = 0.005
CAP_SECONDS = 2.0
LONGEST_SECONDS = 10.0

_READ = "select stock, version from products where id = %s"
_WRITE = """
update products set stock = %s, version = version + 1
where id = %s and version = %s returning stock, version"""


class Reservation(BaseModel):
    """How many to set aside; a negative number gives some back."""

    model_config = ConfigDict(extra="forbid")

    quantity: int = Field(ge=-MAX_QUANTITY, le=MAX_QUANTITY)


class Stock(BaseModel):
    """What is left of a product; version counts its changes, attempts those of this reservation."""

    product_id: int
    stock: int
    version: int
    attempts: int


@dataclass(frozen=True)
class _Row:
    stock: int
    version: int


class StockRoom:
    """Changes the stock of products."""

    def __init__(self, database: Database, flags: Flags) -> None:
        self._database = database
        self._flags = flags
        self._random = SystemRandom()
        self._attempts = metrics.Children(metrics.STOCK_ATTEMPTS)

    def reserve(self, product_id: int, quantity: int) -> Stock:
        """Take ``quantity`` off the stock; Conflict when there is too little, or too many others are at it."""
        retry = self._retry()
        try:
            row = optimistic_update(
                lambda: self._read(product_id),
                lambda seen: self._write(product_id, seen, seen.stock - quantity),
                lambda: retry.again() == RETRIED,
            )
        except Contended as error:
            raise Conflict(f"Others changed the stock of product {product_id} first; try again.") from error
        return Stock(product_id=product_id, stock=row.stock, version=row.version, attempts=retry.resent + 1)

    def _read(self, product_id: int) -> _Row:
        rows = self._database.query(_READ, [product_id]) if product_id <= MAX_ID else []
        if not rows:
            raise NotFound(f"There is no product {product_id}.")
        return _Row(*rows[0])

    def _write(self, product_id: int, seen: _Row, stock: int) -> _Row | None:
        if not 0 <= stock <= MAX_STOCK:
            raise Conflict(f"There are {seen.stock} of product {product_id}; it holds 0 to {MAX_STOCK:,}.")
        rows = self._database.query(_WRITE, [stock, product_id, seen.version], again=False)
        self._attempts["written" if rows else "conflict",].inc()
        return _Row(*rows[0]) if rows else None

    def _retry(self) -> Retry:
        kind, current = self._flags["orders.contention"], context.current()
        deadline = nearest(time.monotonic(), LONGEST_SECONDS, None if current is None else current.deadline)
        if kind == "off":
            return Retry(1, BACKOFFS["immediate"](0, 0, self._random), deadline)
        return Retry(ATTEMPTS, BACKOFFS[kind](BASE_SECONDS, CAP_SECONDS, self._random), deadline)


def blueprint(room: StockRoom) -> Blueprint:
    """Reserving stock."""
    routes = Blueprint("stock", __name__)

    @routes.post("/stock/<int:product_id>/reserve")
    @operation("Set aside, or give back, some of a product", body=Reservation, answers={200: Stock})
    def reserve(product_id: int) -> ResponseReturnValue:
        validation.no_query()
        if idempotency.HEADER in request.headers:
            raise Invalid(f"{idempotency.HEADER}: a reservation sent twice is made twice; send it without a key.")
        return room.reserve(product_id, validation.body(Reservation).quantity).model_dump()

    return routes

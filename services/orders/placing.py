"""Placing an order: check the user, price the lines, write it once, tell the cache."""

from costlab.service import metrics
from costlab.service.configuration import Configuration
from costlab.service.flags import Flags
from costlab.service.invalidation import Invalidation
from costlab.service.problem import Invalid
from services.orders import idempotency
from services.orders.catalogue.loader import CatalogueLoader
from services.orders.configuration import OrdersConfiguration
from services.orders.models import NewOrder
from services.orders.rows import Line, Order
from services.orders.store import Claim, OrderStore
from services.orders.user_lookup import UserLookup

_STATISTICS = ("/orders/stats", "/orders/stats/totals")


class Placing:
    """Places orders."""

    def __init__(
        self,
        flags: Flags,
        store: OrderStore,
        catalogue: CatalogueLoader,
        users: UserLookup,
        invalidation: Invalidation,
        configuration: Configuration[OrdersConfiguration],
    ) -> None:
        self._flags = flags
        self._store = store
        self._catalogue = catalogue
        self._users = users
        self._invalidation = invalidation
        self._configuration = configuration

    def place(self, new: NewOrder, key: str | None) -> tuple[Order, bool]:
        """The order, and whether it is one that ``key`` had placed before."""
        claim = self._claim(new, key)
        order = self._replayed(claim)
        if order is None:
            self._refuse_too_long(new)
            lines = self._priced(new)
            self._users.require(new.user_id)
            order = self._store.add(new.user_id, lines, claim)
            if order is not None:
                self._announce(order)
                return order, False
            # Another request with the same key was faster; its order is committed by now.
            order = self._replayed(claim)
        metrics.ORDERS_PLACED.labels("replayed").inc()
        return order, True

    def _claim(self, new: NewOrder, key: str | None) -> Claim | None:
        if key is None:
            return None
        if self._flags["orders.idempotency"] == "off":
            metrics.IDEMPOTENCY_KEYS_IGNORED.inc()
            return None
        return Claim(key, idempotency.fingerprint(new))

    def _replayed(self, claim: Claim | None) -> Order | None:
        claimed = None if claim is None else self._store.claimed(claim.key)
        if claimed is None:
            return None
        fingerprint, order_id = claimed
        if fingerprint != claim.fingerprint:
            raise Invalid(f"{idempotency.HEADER}: this key was used for another order; take a new key.")
        return self._store.get(order_id)

    def _refuse_too_long(self, new: NewOrder) -> None:
        most = self._configuration.document.max_lines
        if len(new.lines) > most:
            message = f"an order has at most {most} lines for now"
            raise Invalid(f"body: lines: {message}", errors=[{"field": "lines", "message": message}])

    def _priced(self, new: NewOrder) -> list[Line]:
        catalogue = self._catalogue.catalogue()
        prices = [catalogue.price_cents(line.product_id) for line in new.lines]
        if None in prices:
            at = prices.index(None)
            message = f"there is no product {new.lines[at].product_id}"
            field = f"lines.{at}.product_id"
            raise Invalid(f"body: {field}: {message}", errors=[{"field": field, "message": message}])
        return [line.model_dump() | {"price_cents": price} for line, price in zip(new.lines, prices, strict=True)]

    def _announce(self, order: Order) -> None:
        metrics.ORDERS_PLACED.labels("created").inc()
        self._invalidation.publish(f"/orders/{order['id']}", f"/users/{order['user_id']}/orders", *_STATISTICS)

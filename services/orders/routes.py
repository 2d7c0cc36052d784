"""The routes of orders."""

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from costlab.service import validation
from costlab.service.configuration import Configuration
from costlab.service.openapi import operation
from costlab.service.problem import NotFound
from services.orders import idempotency
from services.orders.catalogue.loader import CatalogueLoader
from services.orders.configuration import OrdersConfiguration
from services.orders.models import (
    History,
    HistoryPage,
    NewOrder,
    Order,
    OrderPart,
    OrderQuery,
    ProductPart,
    ProductQuery,
    Statistics,
    Totals,
)
from services.orders.placing import Placing
from services.orders.store import OrderStore

_KEY_HELP = "Names this attempt: sent again with the same key and body, the order is placed once."


def blueprint(
    store: OrderStore,
    catalogue: CatalogueLoader,
    placing: Placing,
    configuration: Configuration[OrdersConfiguration],
) -> Blueprint:
    """Products, orders, a user's history, and statistics."""
    routes = Blueprint("orders", __name__)

    @routes.get("/products/<int:product_id>")
    @operation("A product by id", query=ProductQuery, answers={200: ProductPart})
    def product(product_id: int) -> ResponseReturnValue:
        fields = validation.query(ProductQuery).fields
        found = catalogue.catalogue().get(product_id)
        if found is None:
            raise NotFound(f"There is no product {product_id}.")
        return found if fields is None else fields.of(found)

    @routes.post("/orders")
    @operation("Place an order", body=NewOrder, headers={idempotency.HEADER: _KEY_HELP}, answers={201: Order})
    def place() -> ResponseReturnValue:
        validation.no_query()
        key = idempotency.parse(request.headers.get(idempotency.HEADER))
        order, replayed = placing.place(validation.body(NewOrder), key)
        headers = {"Location": f"/orders/{order['id']}"}
        if replayed:
            headers[idempotency.REPLAYED] = "true"
        return order, 201, headers

    @routes.get("/orders/<int:order_id>")
    @operation("An order with its lines", query=OrderQuery, answers={200: OrderPart})
    def order(order_id: int) -> ResponseReturnValue:
        found = store.get(order_id, validation.query(OrderQuery).fields)
        if found is None:
            raise NotFound(f"There is no order {order_id}.")
        return found

    @routes.get("/users/<int:user_id>/orders")
    @operation(
        "A user's orders, newest first; empty for a user who has none", query=HistoryPage, answers={200: History}
    )
    def history(user_id: int) -> ResponseReturnValue:
        page = validation.query(HistoryPage)
        limit = min(page.limit, configuration.document.max_page)
        orders, following = store.history(user_id, limit, page.after, page.fields)
        return {"orders": orders, "next": following}

    @routes.get("/orders/stats")
    @operation("Totals over all orders; reads all of them", answers={200: Statistics})
    def statistics() -> ResponseReturnValue:
        validation.no_query()
        return store.statistics()

    @routes.get("/orders/stats/totals")
    @operation("How the totals of all orders are distributed; reads all of them", answers={200: Totals})
    def totals() -> ResponseReturnValue:
        validation.no_query()
        return store.totals()

    return routes

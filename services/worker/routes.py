"""The worker's routes. The gateway does not route to them: they are for the lab and the tests."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from costlab.service import validation
from costlab.service.openapi import operation
from costlab.service.problem import NotFound
from services.worker import models
from services.worker.store import FulfilmentStore


def blueprint(store: FulfilmentStore) -> Blueprint:
    """Has an order been processed?"""
    routes = Blueprint("worker", __name__)

    @routes.get("/fulfilments/<int:order_id>")
    @operation("Whether an order was processed", answers={200: models.Fulfilment})
    def fulfilment(order_id: int) -> ResponseReturnValue:
        validation.no_query()
        found = store.get(order_id)
        if found is None:
            raise NotFound(f"Order {order_id} is not processed, or there is none.")
        return found._asdict()

    return routes

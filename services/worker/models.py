"""What the worker answers over HTTP."""

from datetime import datetime

from pydantic import BaseModel


class Fulfilment(BaseModel):
    """An order that was processed, and at which delivery of its job (1: at once)."""

    order_id: int
    key: str
    units: int
    deliveries: int
    fulfilled_at: datetime

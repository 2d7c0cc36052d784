"""The configuration document of orders: what an operator may tighten while the service runs.

Its bounds are the API's own limits, so the document can only ask for less. How it reaches a process, and what becomes
of a bad one: costlab/service/configuration.py.
"""

from pydantic import BaseModel, ConfigDict, Field

from services.orders.models import MAX_LINES, MAX_PAGE


class OrdersConfiguration(BaseModel):
    """Limits of orders."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_page: int = Field(
        MAX_PAGE, ge=1, le=MAX_PAGE, description="Orders a page of a history has, whatever was asked."
    )
    max_lines: int = Field(MAX_LINES, ge=1, le=MAX_LINES, description="Lines an order may have; more are refused.")

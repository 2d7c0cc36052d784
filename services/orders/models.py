"""What orders accepts and answers."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.orders import sparse
from services.orders.paging import MAX_ID, parse

MAX_LINES = 50
MAX_QUANTITY = 1000
MAX_PAGE = 100

Id = Annotated[int, Field(ge=1, le=MAX_ID)]
PageToken = Annotated[str, AfterValidator(parse)]


class Product(BaseModel):
    """A product; price in cents, weight in grams."""

    id: int
    name: str
    category: str
    price_cents: int
    weight_grams: int
    stock: int


class ProductPart(Product):
    """A product; with ``fields``, only those of it."""

    model_config = sparse.PART


class ProductQuery(BaseModel):
    """What of a product to answer."""

    model_config = ConfigDict(extra="forbid")

    fields: sparse.query(Product) | None = Field(None, description=sparse.description(Product))


class NewOrderLine(BaseModel):
    """How many of which product."""

    model_config = ConfigDict(extra="forbid")

    product_id: Id
    quantity: int = Field(ge=1, le=MAX_QUANTITY)


class NewOrder(BaseModel):
    """What to order for whom."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id
    lines: list[NewOrderLine] = Field(min_length=1, max_length=MAX_LINES)


class OrderLine(BaseModel):
    """A line of an order, at the price of its day."""

    product_id: int
    quantity: int
    price_cents: int


class Order(BaseModel):
    """An order and its lines."""

    id: int
    user_id: int
    status: str
    total_cents: int
    created_at: datetime
    lines: list[OrderLine]


class OrderLinePart(OrderLine):
    """A line of an order; with ``fields``, only those of it."""

    model_config = sparse.PART


class OrderPart(Order):
    """An order and its lines; with ``fields``, only those of it."""

    model_config = sparse.PART

    lines: list[OrderLinePart]


class OrderQuery(BaseModel):
    """What of an order to answer."""

    model_config = ConfigDict(extra="forbid")

    fields: sparse.query(Order) | None = Field(None, description=sparse.description(Order))


class HistoryPage(OrderQuery):
    """Which page of a history, and what of its orders."""

    limit: int = Field(20, ge=1, le=MAX_PAGE, description="orders per page")
    after: PageToken | None = Field(None, description="what `next` of the page before gave")


class History(BaseModel):
    """A page of a user's orders, newest first; ``next`` is null on the last one."""

    orders: list[OrderPart]
    next: int | str | None


class TopProduct(BaseModel):
    """How many of a product were sold."""

    product_id: int
    quantity: int


class Statistics(BaseModel):
    """Totals over all orders, and the ten products sold most."""

    orders: int
    revenue_cents: int
    mean_total_cents: float
    top_products: list[TopProduct]


class Totals(BaseModel):
    """The totals of all orders: how many, their sum, the largest, and the one at each percentile (nearest rank)."""

    orders: int
    revenue_cents: int
    largest_cents: int
    percentiles_cents: dict[str, int]

"""The catalogue: every product in the memory of each orders process, one file per memory layout.

A layout is built from batches of rows (id, name, category, price_cents, weight_grams, stock) in the order of their
ids, and answers by id. Products do not change while the service runs.
"""

from collections.abc import Iterable
from typing import Any, Protocol

Row = tuple[int, str, str, int, int, int]
Product = dict[str, Any]


class Layout(Protocol):
    """How the products are held."""

    def __init__(self, rows: Iterable[Row]) -> None: ...

    def __len__(self) -> int: ...

    def get(self, product_id: int) -> Product | None:
        """The product with that id, as it is answered."""

    def price_cents(self, product_id: int) -> int | None:
        """Its price alone."""

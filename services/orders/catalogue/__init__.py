"""The catalogue: every product in the memory of each orders process, one file per memory layout.

A layout is built from batches of rows (id, name, category, price_cents, weight_grams, stock) in the order of their
ids, and answers by id. Products do not change while the service runs. Which layout is in force is flag
``orders.catalogue``; how it is changed while the process serves, loader.py.

What 200,000 products of the seed take, and the time to answer one (Python 3.11, x86-64, each in a process of its own on
a machine that was busy with other things, so the times are rough):

    dict_per_row        181 MB   950 bytes each    0.1 µs
    dict_shared_keys    108 MB   565               0.1
    class                83 MB   435               0.4
    slots                71 MB   371               0.4
    struct_misordered    12.0 MB  63               7 to 11
    struct_ordered       10.7 MB  56               7 to 11
    struct_packed        10.1 MB  53               7 to 11
    columnar              9.4 MB  49               1.0
"""

from collections.abc import Iterable
from typing import Any, Protocol

Row = tuple[int, str, str, int, int, int]
Product = dict[str, Any]
COLUMNS = ("id", "name", "category", "price_cents", "weight_grams", "stock")


class Layout(Protocol):
    """How the products are held."""

    def __init__(self, rows: Iterable[Row]) -> None: ...

    def __len__(self) -> int: ...

    def get(self, product_id: int) -> Product | None:
        """The product with that id, as it is answered."""

    def price_cents(self, product_id: int) -> int | None:
        """Its price alone."""

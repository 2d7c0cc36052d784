"""Packed structs: the fields of a record follow each other without a gap.

Example: 8 + 8 + 4 + 4 + 4 + 1 = 29 bytes for each record, and 23 for its name: 200,000 products take 10.1 MB (PSS,
Python 3.11).

Trade-off: the smallest record, but fields stand at odd addresses. In C, reading those is slower on some processors and
an error on others; Python's struct module copies bytes either way, so here it costs nothing.
Use instead: ``struct_ordered`` where C code reads the records; ``columnar`` to read one field of many.

Units: bytes of memory. Source: Python documentation, "struct: Byte order, size, and alignment".
"""

from services.orders.catalogue.struct_array import StructArray


class StructPacked(StructArray):
    """The products as records without padding."""

    FORMAT = "=qqiiiB"
    FIELDS = ("id", "name_end", "price_cents", "weight_grams", "stock", "category")

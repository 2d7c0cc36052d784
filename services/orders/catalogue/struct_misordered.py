"""Aligned structs in a bad order: small fields before large ones, so the compiler fills the gaps with nothing.

Example: 1 (+ 7) + 8 + 4 (+ 4) + 8 + 4 + 4 = 40 bytes for each record, 11 of them padding, and 23 for its name: 200,000
products take 12.0 MB (PSS, Python 3.11). The same fields take 32 in ``struct_ordered``.

Trade-off: fields stand in the order somebody thought of them. Every field is at an address its type likes, which is
what the padding is for.
Use instead: ``struct_ordered``.

Units: bytes of memory. Source: Raymond, "The Lost Art of Structure Packing"; Python documentation, "struct".
"""

from services.orders.catalogue.struct_array import StructArray


class StructMisordered(StructArray):
    """The products as records with padding between their fields."""

    # "0q" pads the end of a record, as C does, so that the next one begins aligned.
    FORMAT = "@Bqiqii0q"
    FIELDS = ("category", "id", "price_cents", "name_end", "weight_grams", "stock")

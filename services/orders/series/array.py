"""Array: numbers side by side in one block of memory, as C holds them.

Example: the totals of 100,000 orders take 0.85 MB where a list takes 4.0, and their sum, largest and percentiles 37 ms
(a list: 20; Python 3.11, measured beside the others), because sorting and adding up make 200,000 number objects.

Trade-off: compact and quick to fill from bytes, but every look makes a number object again, and it cannot sort itself:
to compute, it is no faster than a list.
Use instead: ``numpy`` where more is done than keeping.

Units: bytes of memory. Errors: OverflowError for a number of more than 64 bits.
Source: Python documentation, "array: Efficient arrays of numeric values".
"""

import sys
from array import array

from services.orders.series import Summary, ranks


def summary(encoded: bytes) -> Summary:
    """The figures of a series of big-endian numbers of 8 bytes, at least one."""
    numbers = array("q")
    numbers.frombytes(encoded)
    if sys.byteorder == "little":
        numbers.byteswap()
    in_order = sorted(numbers)
    at = [in_order[rank] for rank in ranks(len(in_order))]
    return Summary(len(numbers), sum(numbers), in_order[-1], tuple(at))

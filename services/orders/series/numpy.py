"""NumPy: numbers side by side in one block of memory, and loops over them written in C.

Example: the totals of 100,000 orders take 0.80 MB, and their sum, largest and percentiles 4 ms (a list: 4.0 MB and
20 ms; Python 3.11, measured beside the others).

Trade-off: the library takes 10 MB of each process before it holds a number, and is imported when the flag first asks
for it. Its sums are of 64 bits and would wrap around beyond 9.2e18 without a word. A single look is slower than into a
list.
Use instead: ``list``, when a series is short.

Units: bytes of memory. Source: Harris et al., "Array programming with NumPy" (Nature 585, 2020).
"""

import numpy as np

from services.orders.series import Summary, ranks


def summary(encoded: bytes) -> Summary:
    """The figures of a series of big-endian numbers of 8 bytes, at least one."""
    numbers = np.frombuffer(encoded, dtype=">i8").astype(np.int64)
    numbers.sort()
    at = numbers[ranks(len(numbers))].tolist()
    return Summary(len(numbers), int(numbers.sum()), int(numbers[-1]), tuple(at))

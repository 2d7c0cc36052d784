"""Optimistic update: read a row with its version, compute, and write only if the version is still the same.

Example: 100 clients reserve the same product at once. All read version 7; one writes version 8, the other 99 find that
their version is gone and begin again. Without a pause they meet again at once, in all about 100 + 99 + ... = 5,050
attempts; with full jitter (costlab/resilience/backoff.py) less than half of them, says the simulation of the source.

Trade-off: no lock is held while the client computes, and a row that nobody else wants costs two statements. On a
contended row most attempts are wasted, and the unlucky wait longest.

Use instead: one statement that computes in the database (update ... set stock = stock - 1) where the arithmetic allows
it; select ... for update, which makes the clients queue at the row.

Units: attempts, each one read and one conditional write. Source: Kung, Robinson, "On Optimistic Methods for
Concurrency Control" (1981); the contended row: Brooker, AWS Architecture Blog (2015).
"""

from collections.abc import Callable
from typing import TypeVar

Row = TypeVar("Row")


class Contended(Exception):
    """Every attempt found that somebody else had written first."""


def optimistic_update(read: Callable[[], Row], write: Callable[[Row], Row | None], again: Callable[[], bool]) -> Row:
    """The row as written. ``write`` gives None when the row is not what ``read`` saw; ``again`` pauses, or ends it."""
    while True:
        written = write(read())
        if written is not None:
            return written
        if not again():
            raise Contended

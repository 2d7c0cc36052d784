"""How long a system takes to be well again after it was broken.

Counted from the end of the last fault to the first of three seconds in a row in which at most 1 % of the requests
failed and the median was at most twice what it was before the first fault. Ended at 12, well from 19 on: 7 s. One that
is not well before the block ends counts with all the time there was, which is a lower bound. Less than a second counts
as one: more finely a block does not tell.

Trade-off: whole seconds, since medians of less are noise. Alternative: time to the first success, which a single
lucky request ends.
"""

import math
from collections.abc import Sequence
from statistics import median

from costlab.lab.block import FaultSeen, Second

FAILED = 0.01
SLOWER = 2.0
IN_A_ROW = 3
_FINEST = 1.0


def seconds(series: Sequence[Second], faults: Sequence[FaultSeen], length: float) -> float | None:
    """Seconds to recovery; None where nothing was broken."""
    if not faults:
        return None
    begun, ended = min(fault.at for fault in faults), max(fault.until for fault in faults)
    before = [second.p50_ms for second in series if second.at + 1 <= begun and second.p50_ms is not None]
    limit = SLOWER * median(before) if before else math.inf
    after = [second for second in series if second.at >= math.floor(ended)]
    for first in range(len(after) - IN_A_ROW + 1):
        if all(_well(second, limit) for second in after[first : first + IN_A_ROW]):
            return max(_FINEST, after[first].at - ended)
    return max(_FINEST, length - ended)


def cut_off(series: Sequence[Second], faults: Sequence[FaultSeen], length: float) -> bool:
    """Whether the block ended before it was well again, so that its seconds are a lower bound."""
    found = seconds(series, faults, length)
    return found is not None and found >= length - max(fault.until for fault in faults)


def _well(second: Second, limit: float) -> bool:
    answered = second.p50_ms is not None and second.p50_ms <= limit
    return answered and second.failed <= FAILED * second.requests

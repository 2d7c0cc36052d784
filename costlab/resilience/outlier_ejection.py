"""Outlier ejection: leave a replica out for a while after it has failed several times in a row.

Example: three replicas, one of which has died. Its third failure in a row ejects it for 1 s; then it is asked again,
and if it still fails, it is out for 2 s, 4 s, ... at most 30 s. Of 100 requests a second 33 met the dead replica; now
3 do, and then 3 again after each time out.

Trade-off: what is left carries the load of those that are out. So at most half of the replicas are out at once (one of
three, none of one), and the others fail on: when everything fails, as with a database that is down, ejecting replicas
would only make it worse. When all that a request may use are out, all count as in ("panic").

Use instead: health checks by whoever starts replicas, which see a replica that gets no traffic; a circuit breaker
where there is one upstream and nobody to go to instead.

Units: seconds; failures are no connection, no answer in time, or an answer 5xx. State per upstream and process.
Source: Envoy documentation, "Outlier detection" (consecutive 5xx, maximum ejection percent, panic threshold).
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

IN_A_ROW = 3
BASE_SECONDS = 1.0
CAP_SECONDS = 30.0
SHARE = 0.5


@dataclass(slots=True)
class _Record:
    failures: int = 0
    until: float = -math.inf
    seconds: float = 0.0


class OutlierEjection:
    """Which replicas of one upstream are out, by their names. Not for several threads at once."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def failed(self, name: str, of: int, now: float) -> bool:
        """``name``, one ``of`` as many replicas, has failed: whether that ejects it."""
        record = self._records.setdefault(name, _Record())
        if record.until > now:
            return False  # a request that was under way when it was ejected
        record.failures += 1
        if record.failures < IN_A_ROW or self.out(now) >= _allowed(of):
            return False
        again = now - record.until <= record.seconds
        record.seconds = min(CAP_SECONDS, 2 * record.seconds) if again else BASE_SECONDS
        record.until = now + record.seconds
        record.failures = 0
        return True

    def succeeded(self, name: str) -> None:
        """``name`` has answered: its failures so far were not in a row."""
        record = self._records.get(name)
        if record is not None:
            record.failures = 0

    def is_out(self, name: str, now: float) -> bool:
        """Whether ``name`` is to be left out."""
        record = self._records.get(name)
        return record is not None and record.until > now

    def out(self, now: float) -> int:
        """How many are out."""
        return sum(record.until > now for record in self._records.values())

    def keep(self, names: Collection[str], now: float) -> None:
        """There are only ``names`` now: forget the others, and let in whoever is out beyond the share of these."""
        self._records = {name: record for name, record in self._records.items() if name in names}
        out = sorted((r for r in self._records.values() if r.until > now), key=lambda record: record.until)
        for record in out[: max(0, len(out) - _allowed(len(names)))]:
            record.until = now


def _allowed(replicas: int) -> int:
    return math.floor(SHARE * replicas)

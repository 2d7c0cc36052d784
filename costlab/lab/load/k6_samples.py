"""Reads k6's CSV output into samples whose latency counts from the planned send time.

k6 fires slot i at start + i * period whatever happened before. Its own latency starts when a virtual user sends;
the CSV file gives the end of each request to the nanosecond, so latency here is end - (start + i * period). With
100/s, a request of slot 7 that ends 0.085 s after the start took 15 ms, also if k6 sent it 10 ms late.
The start is known to the millisecond only (exec.scenario.startTime, cut off). It is taken as late within that
millisecond as the earliest request allows, so the least delay that k6 itself adds, about 0.1 ms, is not charged.
Dropped slots are not iterations and have no number in k6: they are put back among the fired ones by their times.
Source: k6's lib/executor/constant_arrival_rate.go and its CSV output.
"""

import csv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from costlab.lab.load.spec import SAMPLE

# Their sum is the time from a virtual user's call to the end of the answer.
_PARTS = {"http_req_duration", "http_req_blocked", "http_req_connecting"}
# The columns of metric_name,timestamp,metric_value,name,scenario,status,extra_tags,metadata; in no name is a comma.
_SCENARIO, _STATUS = 4, 5


class Tally:
    """Counts what k6 has written so far of one stretch, once a second; asked again, it reads only what is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._counts: dict[str, Counter[str]] = {}

    def of(self, scenario: str) -> dict[str, int]:
        """answered, failed (no answer, or 5xx) and dropped."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
            self._read += len(whole) + bool(whole)
            for line in whole.decode().splitlines():
                self._note(line.split(","))
        counts = self._counts.get(scenario, Counter())
        return {name: counts[name] for name in ("answered", "failed", "dropped")}

    def _note(self, row: list[str]) -> None:
        counts = self._counts.setdefault(row[_SCENARIO], Counter())
        if row[0] == "http_reqs":
            counts["answered"] += 1
            counts["failed"] += row[_STATUS] in ("", "0") or row[_STATUS] >= "500"
        counts["dropped"] += row[0] == "dropped_iterations"


@dataclass
class _Request:
    name: str = ""
    status: int = 0
    end: float = float("nan")
    spent: float = 0.0
    bytes: int = 0

    @property
    def left(self) -> float:
        return self.end - self.spent


@dataclass
class _Scenario:
    """What the CSV file holds of one scenario: requests by iteration number, and when slots were dropped."""

    requests: dict[int, _Request] = field(default_factory=dict)
    drops: list[float] = field(default_factory=list)


def read_samples(path: Path, names: list[str], rate: float, planned: int, earliest: float) -> tuple[float, np.ndarray]:
    """Start (unix time) and samples of the scenario `measure`.

    `earliest` is the start cut to the millisecond; what k6 fired beyond the `planned` slots is left out.
    """
    period = 1000 / round(rate * 1000)  # as loadtests/lib/scenario.js gives it to k6
    scenario = _read(path)
    slots = slots_of({i: request.left for i, request in scenario.requests.items()}, scenario.drops)
    start = min((scenario.requests[i].left - slot * period for i, slot in slots.items()), default=earliest)
    start = min(max(start, earliest), earliest + 0.001)
    number = {name: i for i, name in enumerate(names)}
    rows = []
    for i, slot in slots.items():
        request = scenario.requests[i]
        if slot < planned:
            latency = request.end - start - slot * period
            rows.append((slot * period, latency, request.status, number[request.name], request.bytes))
    return start, np.array(rows, dtype=SAMPLE)


def slots_of(left: dict[int, float], drops: list[float]) -> dict[int, int]:
    """Slot of each iteration, given when it was sent: its number plus the slots dropped before it."""
    waiting = sorted(drops)
    slots: dict[int, int] = {}
    dropped = 0
    for i in sorted(left):
        while dropped < len(waiting) and waiting[dropped] < left[i]:
            dropped += 1
        slots[i] = i + dropped
    return slots


def _read(path: Path) -> _Scenario:
    scenario = _Scenario()
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["scenario"] == "measure":
                _note(scenario, row)
    # An iteration that only received, or was cut off at k6's own end, is no request.
    scenario.requests = {i: request for i, request in scenario.requests.items() if request.name}
    return scenario


def _note(scenario: _Scenario, row: dict[str, str]) -> None:
    metric = row["metric_name"]
    if metric == "dropped_iterations":
        scenario.drops.append(int(row["timestamp"]) / 1e9)
        return
    # An iteration beyond the planned ones has no number: it sent nothing.
    if (metric not in _PARTS and metric != "data_received") or not row["metadata"]:
        return
    request = scenario.requests.setdefault(int(row["metadata"].removeprefix("index=")), _Request())
    if metric == "data_received":
        request.bytes += int(float(row["metric_value"]))
        return
    request.spent += float(row["metric_value"]) / 1000
    if metric == "http_req_duration":
        request.name, request.status = row["name"], int(row["status"] or 0)
        request.end = int(row["timestamp"]) / 1e9

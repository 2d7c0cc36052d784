"""What one block leaves behind: raw counts and readings, from which every figure can be worked out again."""

from typing import Literal

from pydantic import Field

from costlab.lab.toml_file import Closed
from costlab.lab.warmup import Trend

QuerySource = Literal["pg_stat_statements", "costlab_db_queries_total"]


class Statement(Closed):
    """One kind of SQL statement, its constants replaced: how often ``role`` sent it, and what it took."""

    role: str
    text: str
    calls: int
    seconds: float


class Queries(Closed):
    """Statements the requests caused, by database role. ``excluded``: those nobody's request caused, not counted."""

    source: QuerySource
    note: str = ""
    by_role: dict[str, int]
    excluded: int = 0
    statements: list[Statement] = Field(default_factory=list)


class Latencies(Closed):
    """Of successful requests, from the planned send time. ``histogram``: see histogram.py. ``by_request``: likewise."""

    histogram: dict[int, int]
    by_request: dict[str, dict[int, int]]


class Second(Closed):
    """One second of a block: requests planned in it, how many failed, their median and 95th percentile in ms."""

    at: int
    requests: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None


class Machine(Closed):
    """The whole machine during the block; shares of its time. None: this machine does not tell."""

    busy: float | None
    steal: float | None
    generator: float | None
    cpu_pressure: float | None
    memory_pressure: float | None
    io_pressure: float | None


class Orders(Closed):
    """Orders a block wrote, and those that were never fulfilled. ``accepted``: answered 2xx, as clients saw them."""

    placed: int
    lost: int
    accepted: int = 0

    @property
    def duplicated(self) -> int:
        """Orders there are beyond those that clients were told of: each will be placed again, or was."""
        return max(0, self.placed - self.accepted)


class FaultSeen(Closed):
    """A fault that was in force in a block; ``at`` and ``until`` in seconds from the start of its measured stretch."""

    fault: str
    on: str
    edge: str = ""
    at: float
    until: float


class Guard(Closed):
    """One check of a block. ``kept`` is None where the machine does not tell the value."""

    name: str
    value: float | None
    limit: float
    kept: bool | None
    spoils: bool


class Block(Closed):
    """One variant under load for one stretch of ``seconds``.

    ``answered_in_time``: by a second after its end. ``elapsed``: seconds between the two readings of the probes,
    ``overlap_seconds``: how much of the stretch had gone when the first of them was done. ``counters``: those that
    rose. ``time_wait``: sockets in that state at the end. ``orders``: None if it placed none. ``faults``: what was
    broken on purpose, and when. ``repeated``: still warming up, so another block took its place and this one does not
    count.
    """

    round: int
    variant: str
    seed: int
    started_at: float
    seconds: float
    generator: str
    planned: int
    sent: int
    dropped: int
    answered_in_time: int
    statuses: dict[str, int]
    bytes: int
    latencies: Latencies
    series: list[Second]
    trend: Trend
    elapsed: float
    overlap_seconds: float
    cpu_seconds: dict[str, float]
    memory_bytes: dict[str, int]
    memory_kind: str
    queries: Queries
    counters: dict[str, float]
    machine: Machine
    flags: dict[str, str | int | float]
    guards: list[Guard] = Field(default_factory=list)
    repeated: bool = False
    time_wait: int | None = None
    orders: Orders | None = None
    faults: list[FaultSeen] = Field(default_factory=list)

    @property
    def succeeded(self) -> int:
        """Requests answered with 2xx or 3xx."""
        return sum(number for status, number in self.statuses.items() if 200 <= int(status) < 400)

    @property
    def failed_share(self) -> float:
        """Requests planned that did not succeed: errors, timeouts and dropped ones."""
        return 1 - self.succeeded / self.planned if self.planned else 0.0

    def counter(self, name: str, **labels: str) -> float:
        """How much a counter rose, over all services and all labels but the given ones."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            rise
            for key, rise in self.counters.items()
            if key.split(" ", 1)[1].split("{")[0] == name and all(label in key for label in wanted)
        )

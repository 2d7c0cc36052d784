"""What a load is and what it leaves behind: LoadSpec, LoadResult and the errors."""

import math
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

import numpy as np

from costlab.failure import Failure

Arrivals = Literal["uniform", "poisson"]
MOST_CONNECTIONS = 500  # select() takes 1024 files

# One row per request that was sent in the measured stretch.
SAMPLE = np.dtype(
    [
        ("planned_at", "f8"),  # seconds since the start of the measured stretch
        ("latency", "f8"),  # seconds from the PLANNED send time to the last byte of the answer
        ("status", "i2"),  # HTTP status; 0 = refused, cut off, malformed or timed out
        ("request", "i2"),  # index into LoadResult.names
        ("bytes", "i4"),  # bytes of the answer as received, headers included
    ]
)


class LoadError(Failure):
    """The load cannot run or its result cannot be trusted; the message says what happened and what is allowed."""


class LoadStopped(LoadError):
    """The caller's `stop` event ended the load before its time; there is no result."""

    exit_code = 130


@dataclass(frozen=True)
class LoadSpec:
    """One stretch of load: `settle_seconds` that are not counted, then `seconds` that are, both at `rate` per second.

    `seed` (0 to 2^32 - 1) fixes which requests are sent and, for Poisson arrivals, when. `timeout` seconds after
    its planned time a request counts as failed (status 0).
    `connections`: the most requests under way at once. The built-in generator (default 128) keeps what is more in
    line, and drops a request that waited half of `timeout`. k6 drops one at once; by default it has virtual users for
    two seconds' requests, 500 at most, and adds others, up to 128, as it drops.

    What is cut. A stall of S seconds holds up rate x S requests, the longest for S: a mean of S²/2T over T seconds.
    It shows whole as long as no request is dropped and S is below `timeout`. What was dropped, or given up after
    `timeout`, counts as failed and is in no latency, so a longer stall shows in failures and hardly in the tail.
    """

    base_url: str
    traffic: Path
    rate: float
    seconds: float
    settle_seconds: float
    seed: int
    api_key: str
    arrivals: Arrivals = "uniform"
    connections: int | None = None
    timeout: float = 10.0

    def __post_init__(self) -> None:
        _require(_number(self.rate) and self.rate > 0, "rate", self.rate, "a number of requests per second above 0")
        _require(_number(self.seconds) and self.seconds > 0, "seconds", self.seconds, "a number above 0")
        _require(
            _number(self.settle_seconds) and self.settle_seconds >= 0,
            "settle_seconds",
            self.settle_seconds,
            "a number, 0 or more",
        )
        _require(_number(self.timeout) and self.timeout > 0, "timeout", self.timeout, "a number of seconds above 0")
        _require(
            isinstance(self.seed, int) and 0 <= self.seed < 2**32, "seed", self.seed, "an integer from 0 to 2^32 - 1"
        )
        _require(self.arrivals in ("uniform", "poisson"), "arrivals", self.arrivals, "uniform or poisson")
        _require(
            self.connections is None or 1 <= self.connections <= MOST_CONNECTIONS,
            "connections",
            self.connections,
            f"1 to {MOST_CONNECTIONS}",
        )
        _require(self.api_key.isascii() and self.api_key.isprintable(), "api_key", self.api_key, "printable ASCII")
        self.address()

    def address(self) -> SplitResult:
        """base_url in parts; LoadError if it is not an http(s) URL with a host."""
        try:
            parts = urlsplit(self.base_url.rstrip("/"))
            parts.port  # noqa: B018 - reading it is what checks it
        except ValueError as error:
            raise LoadError(f"load: base_url is {self.base_url!r}: {error}") from error
        usable = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.username)
        _require(bool(usable), "base_url", self.base_url, "http://HOST:PORT")
        return parts


@dataclass
class LoadResult:
    """What was sent and what came back in the measured stretch. planned == sent + dropped == len(samples) + dropped."""

    generator: str  # "k6 v..." or "costlab open-model"
    planned: int
    sent: int
    dropped: int
    samples: np.ndarray  # of dtype SAMPLE, ordered by planned_at
    names: list[str]
    started_at: float  # unix time of the start of the measured stretch
    cpu_seconds: float  # of the generator, from the start of the measured stretch; NaN if it could not be seen
    overlap_seconds: float = 0.0  # of the measured stretch gone when on_measure_start returned (k6 only, see k6.py)


def reachable_address(spec: LoadSpec) -> tuple[int, tuple]:
    """Address family and socket address at which base_url accepts connections; LoadError if it does not."""
    parts = spec.address()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname, port), timeout=3) as connection:
            return connection.family, connection.getpeername()
    except OSError as error:
        raise LoadError(f"load: cannot reach {spec.base_url}: {error}. `costlab status` tells what is up") from error


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise LoadError(f"load: {name} is {value!r}; allowed: {allowed}")

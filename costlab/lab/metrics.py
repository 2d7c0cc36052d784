"""Every metric a day may name, and how it is read off a block.

A metric is exact (counted: no test, its spread is shown) or timed (tested over rounds). Figures per request are per
SUCCESSFUL request: retries, timeouts and shed work are charged to the survivors. A metric per service takes the
service's name after a dot: cpu_ms_per_request.gateway.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from costlab.lab import histogram
from costlab.lab.block import Block

DATASTORES = ("postgres", "redis")
MIB = 2**20


@dataclass(frozen=True)
class Metric:
    """``matters``: the smallest change that matters unless a day says otherwise. ``better``: which way is good."""

    name: str
    label: str
    unit: str
    read: Callable[[Block, Collection[str]], float | None]
    exact: bool = False
    latency: bool = False
    better: str = "lower"
    matters: float = 0.05


def _per_request(value: Callable[[Block], float]) -> Callable[[Block, Collection[str]], float | None]:
    return lambda block, without: value(block) / block.succeeded if block.succeeded else None


def _percentile(share: float) -> Callable[[Block, Collection[str]], float | None]:
    def read(block: Block, without: Collection[str]) -> float | None:
        seconds = histogram.percentile(block.latencies.histogram, share)
        return None if seconds is None else 1000 * seconds

    return read


def _mean(block: Block, without: Collection[str]) -> float | None:
    seconds = histogram.mean(block.latencies.histogram)
    return None if seconds is None else 1000 * seconds


def deployed(values: Mapping[str, float], without: Collection[str]) -> dict[str, float]:
    """The services of our own that a variant would deploy: databases are counted apart."""
    return {name: value for name, value in values.items() if name not in without and name not in DATASTORES}


def _cpu(block: Block, without: Collection[str]) -> float | None:
    total = sum(deployed(block.cpu_seconds, without).values())
    return 1000 * total / block.succeeded if block.succeeded else None


def _memory(block: Block, without: Collection[str]) -> float:
    return sum(deployed(block.memory_bytes, without).values()) / MIB


def _hit_share(block: Block, without: Collection[str]) -> float | None:
    asked = block.counter("costlab_cache_requests_total")
    return block.counter("costlab_cache_requests_total", outcome="hit") / asked if asked else None


def _service_cpu(service: str) -> Callable[[Block, Collection[str]], float | None]:
    def read(block: Block, without: Collection[str]) -> float | None:
        if service in without or service not in block.cpu_seconds or not block.succeeded:
            return None
        return 1000 * block.cpu_seconds[service] / block.succeeded

    return read


def _service_memory(service: str) -> Callable[[Block, Collection[str]], float | None]:
    def read(block: Block, without: Collection[str]) -> float | None:
        if service in without or service not in block.memory_bytes:
            return None
        return block.memory_bytes[service] / MIB

    return read


_ALL = (
    Metric(
        "db_queries_per_request",
        "database queries/request",
        "",
        _per_request(lambda block: sum(block.queries.by_role.values())),
        exact=True,
        matters=0.0,
    ),
    Metric("p50_ms", "latency p50", "ms", _percentile(0.50), latency=True),
    Metric("p95_ms", "latency p95", "ms", _percentile(0.95), latency=True),
    Metric("p99_ms", "latency p99", "ms", _percentile(0.99), latency=True),
    Metric("mean_ms", "latency mean", "ms", _mean, latency=True),
    Metric("cpu_ms_per_request", "CPU/request, services", "ms", _cpu, matters=0.03),
    Metric(
        "db_cpu_ms_per_request",
        "CPU/request, PostgreSQL",
        "ms",
        _per_request(lambda block: 1000 * block.cpu_seconds.get("postgres", 0.0)),
        matters=0.03,
    ),
    Metric("memory_mib", "memory, services", "MiB", _memory),
    Metric(
        "bytes_per_request",
        "bytes/request",
        "B",
        _per_request(lambda block: block.bytes),
        exact=True,
        matters=0.0,
    ),
    Metric("cache_hit_share", "cache look-ups that hit", "", _hit_share, exact=True, better="higher"),
    Metric("failed_share", "failed requests", "", lambda block, without: block.failed_share, exact=True),
)
METRICS = {metric.name: metric for metric in _ALL}
_PER_SERVICE = {"cpu_ms_per_request": _service_cpu, "memory_mib": _service_memory}


def named(name: str) -> Metric:
    """The metric called ``name``; ValueError lists what there is."""
    base, dot, service = name.partition(".")
    if not dot and base in METRICS:
        return METRICS[base]
    if dot and service and base in _PER_SERVICE:
        kind = "CPU/request" if base.startswith("cpu") else "memory"
        read = _PER_SERVICE[base](service)
        return replace(METRICS[base], name=name, label=f"{kind}, {service}", read=read)
    per_service = ", ".join(f"{base}.SERVICE" for base in _PER_SERVICE)
    raise ValueError(f"there is no metric {name!r}; allowed: {', '.join(METRICS)}, {per_service}")

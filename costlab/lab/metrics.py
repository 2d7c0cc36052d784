"""Every metric a day may name, and how it is read off a block.

A metric is exact (counted: no test, its spread is shown) or tested over rounds: what is timed, and what is counted but
left to chance, as the share that a limiter admits depends on where in its window a block begins. Figures per request
are per SUCCESSFUL request: retries, timeouts and shed work are charged to the survivors. A metric per service takes the
service's name after a dot: cpu_ms_per_request.gateway.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from costlab.lab import histogram, recovery
from costlab.lab.block import Block, Orders

DATASTORES = ("postgres", "redis")
MIB = 2**20
# What a visitor waits for before giving up, as far as goodput is concerned.
TIMELY_SECONDS = 0.5
_CACHE = "costlab_cache_requests_total"


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


def _timely(block: Block, without: Collection[str]) -> float:
    """An answer that comes too late is no answer; a queue that is worked off in the end would else look harmless."""
    return histogram.within(block.latencies.histogram, TIMELY_SECONDS) / block.seconds


def _hit_share(block: Block, without: Collection[str]) -> float | None:
    """What was answered without the origin: found in the cache, or by somebody else's call for the same."""
    hits = block.counter(_CACHE, outcome="hit") + block.counter(_CACHE, outcome="coalesced")
    asked = block.counter(_CACHE)
    return hits / asked if asked else None


def _share(counter: str, outcome: str) -> Callable[[Block, Collection[str]], float | None]:
    """The share of one outcome in all that a counter counted; None where it counted nothing."""

    def read(block: Block, without: Collection[str]) -> float | None:
        total = block.counter(counter)
        return block.counter(counter, outcome=outcome) / total if total else None

    return read


def _counted(counter: str, **labels: str) -> Callable[[Block, Collection[str]], float | None]:
    """A counter's rise per successful request."""
    return _per_request(lambda block: block.counter(counter, **labels))


def _recovery(block: Block, without: Collection[str]) -> float | None:
    return recovery.seconds(block.series, block.faults, block.seconds)


def _orders(value: Callable[[Orders], int]) -> Callable[[Block, Collection[str]], float | None]:
    return lambda block, without: None if block.orders is None else float(value(block.orders))


def _role_queries(role: str) -> Callable[[Block, Collection[str]], float | None]:
    return _per_request(lambda block: block.queries.by_role.get(role, 0))


def _service_cpu(service: str) -> Callable[[Block, Collection[str]], float | None]:
    def read(block: Block, without: Collection[str]) -> float | None:
        if service in without or service not in block.cpu_seconds or not block.succeeded:
            return None
        return 1000 * block.cpu_seconds[service] / block.succeeded

    return read


def _jobs(block: Block, without: Collection[str]) -> float:
    return block.counter("costlab_jobs_total", outcome="done") / block.elapsed


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
    Metric(
        "cache_coalesced_share",
        "reads that shared a call",
        "",
        _share(_CACHE, "coalesced"),
        better="higher",
    ),
    Metric("failed_share", "failed requests", "", lambda block, without: block.failed_share, exact=True),
    Metric(
        "goodput_per_second",
        "successful requests",
        "/s",
        lambda block, without: block.succeeded / block.seconds,
        better="higher",
    ),
    Metric("timely_per_second", "successful within 500 ms", "/s", _timely, better="higher"),
    Metric(
        "retries_per_request",
        "retries/request",
        "",
        _counted("costlab_retries_total", outcome="retried"),
    ),
    Metric(
        "hedges_per_request",
        "second requests/request",
        "",
        _counted("costlab_hedges_total", outcome="sent"),
    ),
    Metric("shed_share", "requests shed", "", _share("costlab_shed_requests_total", "shed")),
    Metric(
        "admitted_share",
        "requests the rate limiter admitted",
        "",
        _share("costlab_rate_limit_decisions_total", "admitted"),
        better="higher",
    ),
    Metric(
        "refused_calls_per_request",
        "calls refused by breaker or throttle/request",
        "",
        _per_request(
            lambda block: (
                block.counter("costlab_breaker_refused_total") + block.counter("costlab_throttle_refused_total")
            )
        ),
    ),
    Metric(
        "connections_per_request",
        "connections opened/request",
        "",
        _counted("costlab_connections_opened_total"),
        exact=True,
    ),
    Metric("time_wait_sockets", "sockets in TIME_WAIT", "", lambda block, without: block.time_wait),
    Metric(
        "pool_wait_ms_per_request",
        "wait for pooled connections/request",
        "ms",
        _per_request(lambda block: 1000 * block.counter("costlab_connection_wait_seconds_sum")),
    ),
    Metric("jobs_per_second", "jobs done", "/s", _jobs, better="higher"),
    Metric("spans_per_request", "spans/request", "", _counted("costlab_spans_started_total")),
    Metric("span_bytes_per_request", "bytes of spans/request", "B", _counted("costlab_span_bytes_total")),
    Metric("log_bytes_per_request", "bytes of logs/request", "B", _counted("costlab_log_bytes_total")),
    Metric("recovery_seconds", "recovery after the last fault", "s", _recovery),
    Metric("lost_orders", "orders lost", "", _orders(lambda orders: orders.lost), exact=True, matters=0.0),
    Metric(
        "duplicated_orders",
        "orders beyond those accepted",
        "",
        _orders(lambda orders: orders.duplicated),
        exact=True,
        matters=0.0,
    ),
)
METRICS = {metric.name: metric for metric in _ALL}
_PER_SERVICE = {
    "cpu_ms_per_request": _service_cpu,
    "memory_mib": _service_memory,
    "db_queries_per_request": _role_queries,
}
_KINDS = {"cpu_ms_per_request": "CPU/request", "memory_mib": "memory", "db_queries_per_request": "queries/request"}


def named(name: str) -> Metric:
    """The metric called ``name``; ValueError lists what there is."""
    base, dot, service = name.partition(".")
    if not dot and base in METRICS:
        return METRICS[base]
    if dot and service and base in _PER_SERVICE:
        read = _PER_SERVICE[base](service)
        return replace(METRICS[base], name=name, label=f"{_KINDS[base]}, {service}", read=read)
    per_service = ", ".join(f"{base}.SERVICE" for base in _PER_SERVICE)
    raise ValueError(f"there is no metric {name!r}; allowed: {', '.join(METRICS)}, {per_service}")

"""What a running stack does now, out of two readings of it. Pure: readings in, figures out.

    figures    between the last two readings: rates, quantiles, shares
    bill       from the first reading of the window to the last: what a request uses now, at the prices of the lab's
               bill (costlab/lab/pricing.py), PostgreSQL included; nothing is charged to requests that do not come

Instances of a service are shown together. Units: seconds, bytes, shares from 0 to 1, CPU in cores, USD per month.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from costlab.lab import pricing
from costlab.lab.metrics import DATASTORES
from costlab.lab.price_sheet import Assumptions, Sheet
from costlab.lab.pricing import Measured
from costlab.seeing import rates
from costlab.seeing.rates import Samples
from costlab.stack import Usage, replicas

GIB = 2**30
_SECONDS = "http_server_request_duration_seconds"
_WAITS = "costlab_connection_wait_seconds"
_CACHE = "costlab_cache_requests_total"
# Whoever keeps the stack running asks for these, and nobody waits for them.
PROBES = frozenset({"/livez", "/readyz"})


@dataclass(frozen=True)
class Scrape:
    """The metrics of one instance, and when (on the monotonic clock) it told them."""

    at: float
    samples: Samples


@dataclass(frozen=True)
class Reading:
    """All that is asked at one moment. An instance that did not answer is None; so is ``usage`` where it failed."""

    at: float
    scrapes: Mapping[str, Scrape | None]
    usage: Mapping[str, Usage] | None


@dataclass(frozen=True)
class Service:
    """One service, or PostgreSQL or Redis. ``up`` of ``instances`` answer; those two are not asked."""

    name: str
    up: int
    instances: int
    away: list[str]
    requests_per_second: float | None
    error_share: float | None
    cpu_cores: float | None
    memory_bytes: int | None


@dataclass(frozen=True)
class Route:
    """Requests to one route of a service. Errors are 5xx."""

    service: str
    method: str
    route: str
    requests_per_second: float
    error_share: float
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class PoolWait:
    """How often and how long requests of ``service`` waited for a pooled connection to ``peer``, all being lent."""

    service: str
    peer: str
    waits_per_second: float
    p95: float | None


@dataclass(frozen=True)
class Cost:
    """``usd_per_month`` is None while nobody comes, ``idle_usd`` what is paid then. ``rows``: the bill's."""

    usd_per_month: float | None
    idle_usd: float
    rows: dict[str, float]
    over_seconds: float


@dataclass(frozen=True)
class Figures:
    """One view. ``cache_hit_share``: of what went through the cache-proxy and was not passed by."""

    seconds: float
    services: list[Service]
    routes: list[Route]
    cache_hit_share: float | None
    pool_waits: list[PoolWait]
    stream_backlog: float | None


class Rise:
    """What rose between two readings, by instance; those that did not answer both times have no part in it."""

    def __init__(self, before: Reading, after: Reading) -> None:
        self.seconds = after.at - before.at
        self._risen: dict[str, tuple[float, dict[rates.Series, float]]] = {}
        for name, scrape in after.scrapes.items():
            earlier = before.scrapes.get(name)
            if scrape is not None and earlier is not None and scrape.at > earlier.at:
                self._risen[name] = (scrape.at - earlier.at, rates.rises(earlier.samples, scrape.samples))

    def known(self, service: str) -> bool:
        """Whether any instance of ``service`` is known twice."""
        return any(self._of(service))

    def rate(self, service: str, name: str, **labels: str) -> float:
        """Per second, all instances together; "" stands for all services."""
        return sum(rates.total(risen, name, **labels) / seconds for _, seconds, risen in self._of(service))

    def count(self, service: str, name: str, **labels: str) -> float:
        """How often in all."""
        return sum(rates.total(risen, name, **labels) for _, _, risen in self._of(service))

    def each(self, name: str) -> Iterator[tuple[str, float, dict[str, str], float]]:
        """Service, seconds, labels and rise of every sample of that name."""
        for service, seconds, risen in self._of(""):
            for labels, value in rates.select(risen, name):
                yield service, seconds, labels, value

    def _of(self, service: str) -> Iterator[tuple[str, float, dict[rates.Series, float]]]:
        for instance, (seconds, risen) in self._risen.items():
            name = replicas.service_of(instance)
            if service in ("", name):
                yield name, seconds, risen


def figures(before: Reading, after: Reading) -> Figures:
    """What happened between ``before`` and ``after``."""
    rise = Rise(before, after)
    routes = _routes(rise)
    asked = rise.count("", _CACHE) - rise.count("", _CACHE, outcome="bypass")
    return Figures(
        seconds=rise.seconds,
        services=_services(before, after, rise, routes),
        routes=routes,
        cache_hit_share=rise.count("", _CACHE, outcome="hit") / asked if asked else None,
        pool_waits=_pool_waits(rise),
        stream_backlog=_backlog(after),
    )


def cost(before: Reading, after: Reading, sheet: Sheet, given: Assumptions) -> Cost | None:
    """The month at the traffic ``given`` assumes; None where CPU and memory are not known."""
    if before.usage is None or after.usage is None:
        return None
    rise = Rise(before, after)
    succeeded = sum(
        count
        for labels, count in _of_users(rise, f"{_SECONDS}_count")
        if labels["http_response_status_code"][0] in "23"
    )
    measured = _measured(before, after, rise, succeeded or math.inf)
    whole = {row.ChargeDescription: row.EffectiveCost for row in pricing.rows(measured, sheet, given)}
    return Cost(
        usd_per_month=float(pricing.total(measured, sheet, given)) if succeeded else None,
        idle_usd=pricing.idle(measured, sheet, given),
        rows=whole if succeeded else {},
        over_seconds=rise.seconds,
    )


def _of_users(rise: Rise, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Labels and rise at the gateway, probes left out, as the rules of the dashboards have it."""
    for service, _, labels, risen in rise.each(name):
        if service == "gateway" and labels["http_route"] not in PROBES:
            yield labels, risen


def _measured(before: Reading, after: Reading, rise: Rise, requests: float) -> Measured:
    """What ``requests`` used, each; the same as of a block of the lab (costlab/lab/bill.py)."""
    own = {replicas.service_of(instance) for instance in after.scrapes}
    spans = rise.count("", "costlab_spans_started_total")
    span_bytes = rise.count("", "costlab_span_bytes_total")
    database = after.usage.get("postgres")
    return Measured(
        cpu_seconds={name: _cpu(before, after, name) / requests for name in after.usage if name in own},
        memory_gib=sum(used.memory_bytes for name, used in after.usage.items() if name in own) / GIB,
        database_cpu_seconds=_cpu(before, after, "postgres") / requests,
        bytes=sum(risen for _, risen in _of_users(rise, "http_server_response_body_bytes_total")) / requests,
        spans=spans / requests,
        # As the dashboard has it: the node is paid for while something is cached.
        redis=rise.count("", _CACHE) > rise.count("", _CACHE, outcome="bypass"),
        database_gib=None if database is None else database.memory_bytes / GIB,
        # Without a collector nobody has counted them.
        span_bytes=None if spans and not span_bytes else span_bytes / requests,
        log_bytes=rise.count("", "costlab_log_bytes_total") / requests,
    )


def _cpu(before: Reading, after: Reading, name: str) -> float:
    """CPU seconds in between; processes that have ended took what they had used with them, which counts as nothing."""
    if name not in before.usage or name not in after.usage:
        return 0.0
    return max(0.0, after.usage[name].cpu_seconds - before.usage[name].cpu_seconds)


def _services(before: Reading, after: Reading, rise: Rise, routes: list[Route]) -> list[Service]:
    instances: dict[str, list[str]] = defaultdict(list)
    for instance in after.scrapes:
        instances[replicas.service_of(instance)].append(instance)
    by_way_in = sorted(instances, key=lambda name: (name != "gateway", name))
    names = [*by_way_in, *(name for name in DATASTORES if name in (after.usage or {}))]
    return [_service(name, instances[name], before, after, rise, routes) for name in names]


def _service(
    name: str, instances: list[str], before: Reading, after: Reading, rise: Rise, routes: list[Route]
) -> Service:
    away = [instance for instance in instances if after.scrapes[instance] is None]
    used = (after.usage or {}).get(name)
    timed = used is not None and before.usage is not None and rise.seconds > 0
    own = [route for route in routes if route.service == name]
    requests = sum(route.requests_per_second for route in own)
    errors = sum(route.requests_per_second * route.error_share for route in own)
    return Service(
        name=name,
        up=len(instances) - len(away),
        instances=len(instances),
        away=away,
        requests_per_second=requests if rise.known(name) else None,
        error_share=errors / requests if requests else None,
        cpu_cores=_cpu(before, after, name) / rise.seconds if timed else None,
        memory_bytes=None if used is None else used.memory_bytes,
    )


def _routes(rise: Rise) -> list[Route]:
    """Those that were asked for anything, the busiest first."""
    counts: dict[tuple[str, str, str], float] = defaultdict(float)
    errors: dict[tuple[str, str, str], float] = defaultdict(float)
    buckets: dict[tuple[str, str, str], dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for service, seconds, labels, risen in rise.each(f"{_SECONDS}_count"):
        key = _route_key(service, labels)
        counts[key] += risen / seconds
        errors[key] += risen / seconds if labels["http_response_status_code"] >= "500" else 0.0
    for service, _, labels, risen in rise.each(f"{_SECONDS}_bucket"):
        buckets[_route_key(service, labels)][float(labels["le"])] += risen
    return [
        Route(*key, rate, errors[key] / rate, *(rates.quantile(share, buckets[key]) for share in (0.5, 0.95, 0.99)))
        for key, rate in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if rate and key[2] not in PROBES
    ]


def _route_key(service: str, labels: Mapping[str, str]) -> tuple[str, str, str]:
    return service, labels["http_request_method"], labels["http_route"]


def _pool_waits(rise: Rise) -> list[PoolWait]:
    """Of the pools that kept anybody waiting, the longest wait first."""
    waited: dict[tuple[str, str], float] = defaultdict(float)
    buckets: dict[tuple[str, str], dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for service, seconds, labels, risen in rise.each(f"{_WAITS}_count"):
        waited[service, labels["peer"]] += risen / seconds
    for service, _, labels, risen in rise.each(f"{_WAITS}_bucket"):
        buckets[service, labels["peer"]][float(labels["le"])] += risen
    waits = [PoolWait(*key, rate, rates.quantile(0.95, buckets[key])) for key, rate in waited.items() if rate]
    return sorted(waits, key=lambda wait: (-(wait.p95 or 0.0), wait.service, wait.peer))


def _backlog(reading: Reading) -> float | None:
    """Jobs that are not done, as the instance says that sees most of them."""
    scrapes = [scrape for scrape in reading.scrapes.values() if scrape is not None]
    seen = [value for scrape in scrapes for _, value in rates.select(scrape.samples, "costlab_stream_backlog")]
    return max(seen, default=None)

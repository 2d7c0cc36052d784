"""Blocks whose figures are known beforehand."""

import math
from functools import cache

import numpy as np

from costlab.lab import experiment as experiments
from costlab.lab import guards, histogram
from costlab.lab.block import Block, Latencies, Machine, Queries, Second, Statement
from costlab.lab.catalogue import find
from costlab.lab.environment import Environment
from costlab.lab.experiment import Experiment
from costlab.lab.result import Result
from costlab.lab.warmup import trend

QUIET = Machine(busy=0.4, steal=0.0, generator=0.1, cpu_pressure=0.1, memory_pressure=0.0, io_pressure=0.0)


@cache
def day_11() -> Experiment:
    return experiments.load(find("11").file)


def block(round: int, variant: str, *, queries=1000, milliseconds=10.0, cpu_ms=3.0, failed=0, requests=1000, **more):
    """A block of 1,000 requests, all of the same latency; cpu_ms per request in gateway, a tenth in postgres."""
    succeeded = requests - failed
    latencies = np.full(succeeded, milliseconds / 1000)
    counted = histogram.count(latencies)
    series = [Second(at=i, requests=100, failed=0, p50_ms=milliseconds, p95_ms=milliseconds) for i in range(10)]
    statuses = {"200": succeeded} | ({"503": failed} if failed else {})
    fields = {
        "round": round,
        "variant": variant,
        "seed": round,
        "started_at": 1000.0 + 20 * round + (variant != "off") * 10,
        "seconds": 10.0,
        "generator": "costlab open-model",
        "planned": requests,
        "sent": requests,
        "dropped": 0,
        "answered_in_time": requests,
        "statuses": statuses,
        "bytes": 400 * requests,
        "latencies": Latencies(histogram=counted, by_request={"user": counted}),
        "series": series,
        "trend": trend([second.p50_ms for second in series]),
        "elapsed": 10.1,
        "overlap_seconds": 0.0,
        "cpu_seconds": {"gateway": cpu_ms * succeeded / 1000, "postgres": cpu_ms * succeeded / 10_000, "redis": 0.1},
        "memory_bytes": {"gateway": 2**30, "cache-proxy": 2**28, "postgres": 2**27, "redis": 2**23},
        "memory_kind": "pss",
        "queries": Queries(
            source="pg_stat_statements",
            by_role={"users": queries},
            statements=[Statement(role="users", text="select <b> from users", calls=queries, seconds=0.5)],
        ),
        "counters": {'cache-proxy costlab_cache_requests_total{outcome="hit"}': 300.0},
        "machine": QUIET,
        "flags": {"cache.strategy": "off"},
    } | more
    made = Block(**fields)
    return made.model_copy(update={"guards": guards.check(made, day_11().guards)})


def rounds(count: int, *, off: dict | None = None, ttl: dict | None = None) -> list[Block]:
    """``count`` rounds of both variants; values may be functions of the round."""
    return [
        block(i, name, **{key: value(i) if callable(value) else value for key, value in (own or {}).items()})
        for i in range(1, count + 1)
        for name, own in (("off", off), ("ttl", ttl))
    ]


def from_ratios(ratios) -> list[Block]:
    """Rounds whose latency ratio ttl/off is as given."""
    return rounds(len(ratios), off={"milliseconds": 10.0}, ttl={"milliseconds": lambda i: 10.0 * ratios[i - 1]})


def environment() -> Environment:
    return Environment(
        host="machine",
        system="Linux",
        kernel="6",
        cpu="a processor",
        cores=2,
        memory_bytes=4 * 2**30,
        python="3.11.7",
        versions={"costlab": "0.1.0"},
        target="local",
        commit="c0ffee",
        dirty=False,
    )


def result(blocks, conclusion=None, status="complete", quick=True) -> Result:
    declared = day_11()
    return Result(
        status=status,
        day="11-caching",
        started="2026-01-02T03:04:05Z",
        seed=7,
        quick=quick,
        form=declared.quick,
        experiment=declared,
        environment=environment(),
        planned_blocks=len(blocks),
        blocks=blocks,
        conclusion=conclusion,
    )


def close(left: float, right: float, relative: float = 1e-9) -> bool:
    return math.isclose(left, right, rel_tol=relative)

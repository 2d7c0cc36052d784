"""One block: what the load generator saw and what the probes read, put together."""

from collections.abc import Collection

import numpy as np

from costlab.lab import guards, histogram
from costlab.lab.block import Block, Latencies, Orders, Second
from costlab.lab.experiment import GuardLimits
from costlab.lab.load import LoadResult
from costlab.lab.plan import Planned
from costlab.lab.probes import Rise
from costlab.lab.warmup import trend

# The last requests of a block are answered just after its end.
_GRACE_SECONDS = 1.0


def block(
    planned: Planned,
    seconds: float,
    load: LoadResult,
    rise: Rise,
    flags: dict,
    limits: GuardLimits,
    cores: int,
    placing: Collection[str] = (),
) -> Block:
    """The finished block with its guards. ``placing``: the requests that place an order."""
    samples = load.samples
    good = samples[(samples["status"] >= 200) & (samples["status"] < 400)]
    series = _series(samples, seconds)
    medians = [second.p50_ms for second in series if second.p50_ms is not None]
    generator = load.cpu_seconds / (rise.elapsed * cores) if np.isfinite(load.cpu_seconds) else None
    answered = samples["planned_at"] + samples["latency"] <= seconds + _GRACE_SECONDS
    statuses, numbers = np.unique(samples["status"], return_counts=True)
    measured = Block(
        round=planned.round,
        variant=planned.variant,
        seed=planned.seed,
        started_at=load.started_at,
        seconds=seconds,
        generator=load.generator,
        planned=load.planned,
        sent=load.sent,
        dropped=load.dropped,
        answered_in_time=int((answered & (samples["status"] != 0)).sum()),
        statuses={str(status): int(number) for status, number in zip(statuses, numbers, strict=True)},
        bytes=int(samples["bytes"].sum()),
        latencies=Latencies(
            histogram=histogram.count(good["latency"]),
            by_request={
                name: histogram.count(good["latency"][good["request"] == i]) for i, name in enumerate(load.names)
            },
        ),
        series=series,
        trend=trend(medians),
        elapsed=rise.elapsed,
        overlap_seconds=load.overlap_seconds,
        cpu_seconds=rise.cpu_seconds,
        memory_bytes=rise.memory_bytes,
        memory_kind=rise.memory_kind,
        queries=rise.queries,
        counters={key: value for key, value in rise.counters.items() if value},
        machine=rise.machine.model_copy(update={"generator": generator}),
        flags=flags,
        time_wait=rise.time_wait,
        orders=_orders(rise.orders, load, good, placing),
    )
    return measured.model_copy(update={"guards": guards.check(measured, limits)})


def _orders(counted: Orders | None, load: LoadResult, good: np.ndarray, placing: Collection[str]) -> Orders | None:
    """Accepted and not there is lost too."""
    accepted = int(np.isin(good["request"], [load.names.index(name) for name in placing]).sum())
    if counted is None and not accepted:
        return None
    placed, lost = (counted.placed, counted.lost) if counted else (0, 0)
    return Orders(placed=placed, lost=lost + max(0, accepted - placed), accepted=accepted)


def _series(samples: np.ndarray, seconds: float) -> list[Second]:
    """One row per second of the stretch, by the planned send time."""
    rows = []
    good = (samples["status"] >= 200) & (samples["status"] < 400)
    for at in range(int(np.ceil(seconds))):
        within = (samples["planned_at"] >= at) & (samples["planned_at"] < at + 1)
        latencies = 1000 * samples["latency"][within & good]
        rows.append(
            Second(
                at=at,
                requests=int(within.sum()),
                failed=int((within & ~good).sum()),
                p50_ms=float(np.median(latencies)) if len(latencies) else None,
                p95_ms=float(np.quantile(latencies, 0.95)) if len(latencies) else None,
            )
        )
    return rows

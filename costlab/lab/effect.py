"""Before and after: one metric of a variant held against the same metric of the baseline, round by round."""

import math
from collections.abc import Sequence

from costlab.lab import histogram, metrics, statistics, words
from costlab.lab.block import Block
from costlab.lab.experiment import TAIL, TAIL_REQUESTS, Experiment
from costlab.lab.toml_file import Closed

_SHARES = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99}


class Effect(Closed):
    """``before`` and ``after`` over all blocks; ``ratios`` after/before of each round, ``ratio`` their estimate.

    ``low`` and ``high``: the 95 % interval of a timed metric, or the smallest and largest round of an exact one.
    ``refused``: why the two are not compared, or empty.
    """

    metric: str
    variant: str
    exact: bool
    before: float | None
    after: float | None
    ratios: list[float]
    ratio: float | None
    low: float | None
    high: float | None
    p: float | None
    refused: str = ""


def effect(experiment: Experiment, blocks: Sequence[Block], name: str, variant: str, seed: int) -> Effect:
    """The effect of ``variant`` on the metric ``name``, from the rounds that are complete."""
    metric = metrics.named(name)
    pairs = paired(blocks, experiment.baseline, variant)
    without = _without(experiment, variant)
    read = _read(metric, pairs, without)
    before = overall(metric, [pair[0] for pair in pairs], without[0])
    after = overall(metric, [pair[1] for pair in pairs], without[1])
    ratios = [ratio for b, a in read if (ratio := _ratio(b, a, metric.exact and bool(before))) is not None]
    refused = error_rates_differ(experiment, pairs) if metric.latency else ""
    refused = f"{refused}, so latencies are not compared" if refused else ""
    if name == TAIL and any(b.planned < TAIL_REQUESTS for pair in pairs for b in pair):
        refused = refused or f"a p99 takes {TAIL_REQUESTS:,} requests a block"
    if not refused and len(ratios) < len(read) and before is not None and after is not None:
        refused = "a figure is zero, so there is no ratio"
    elif not refused and len(ratios) < len(read):
        refused = "one of the variants has no such figure"
    blank = Effect(
        metric=name,
        variant=variant,
        exact=metric.exact,
        before=before,
        after=after,
        ratios=ratios,
        ratio=None,
        low=None,
        high=None,
        p=None,
        refused=refused or ("" if ratios else "no round is complete"),
    )
    if blank.refused:
        return blank
    if metric.exact:
        return blank.model_copy(update={"ratio": after / before, "low": min(ratios), "high": max(ratios)})
    return blank.model_copy(update=tested(ratios, seed))


def from_or_to_nought(experiment: Experiment, blocks: Sequence[Block], of: Effect) -> bool:
    """Whether one of the two variants has nothing of the metric in any round and the other something in each."""
    pairs = paired(blocks, experiment.baseline, of.variant)
    read = _read(metrics.named(of.metric), pairs, _without(experiment, of.variant))
    new = all(before == 0 and after for before, after in read)
    gone = all(before and after == 0 for before, after in read)
    return bool(read) and (new or gone)


def _without(experiment: Experiment, variant: str) -> tuple[Sequence[str], Sequence[str]]:
    return experiment.variants[experiment.baseline].without, experiment.variants[variant].without


def _read(
    metric: metrics.Metric, pairs: Sequence[tuple[Block, Block]], without: tuple[Sequence[str], Sequence[str]]
) -> list[tuple[float | None, float | None]]:
    """The metric of both blocks of each round."""
    return [(metric.read(before, without[0]), metric.read(after, without[1])) for before, after in pairs]


def _ratio(before: float | None, after: float | None, counted: bool) -> float | None:
    """after/before. What is ``counted`` may come down to nought; a round in which nothing happened has no change."""
    if before is None or after is None:
        return None
    if before and (after or counted):
        return after / before
    return 1.0 if counted and not after and not before else None


def tested(ratios: Sequence[float], seed: int) -> dict[str, float | None]:
    """Estimate, interval and p of a timed metric from the ratios of its rounds."""
    differences = [math.log(ratio) for ratio in ratios]
    low, high = statistics.interval(differences, seed)
    return {
        "ratio": math.exp(statistics.hodges_lehmann(differences)),
        "low": math.exp(low) if math.isfinite(low) else None,
        "high": math.exp(high) if math.isfinite(high) else None,
        "p": statistics.sign_flip_p(differences),
    }


def paired(blocks: Sequence[Block], baseline: str, variant: str) -> list[tuple[Block, Block]]:
    """(baseline, variant) of each round that has both; blocks that were repeated are left out."""
    counted = {(block.round, block.variant): block for block in blocks if not block.repeated}
    rounds = sorted({number for number, _ in counted})
    return [
        (counted[number, baseline], counted[number, variant])
        for number in rounds
        if (number, baseline) in counted and (number, variant) in counted
    ]


def overall(metric: metrics.Metric, blocks: Sequence[Block], without: Sequence[str]) -> float | None:
    """One figure for several blocks: percentiles from the merged histograms, anything else the mean of the blocks."""
    if metric.name in _SHARES:
        merged = histogram.merge(block.latencies.histogram for block in blocks)
        seconds = histogram.percentile(merged, _SHARES[metric.name])
        return None if seconds is None else 1000 * seconds
    values = [value for block in blocks if (value := metric.read(block, without)) is not None]
    return sum(values) / len(values) if values else None


def failed(blocks: Sequence[Block]) -> float:
    """Share of all planned requests that failed."""
    planned = sum(block.planned for block in blocks)
    return 1 - sum(block.succeeded for block in blocks) / planned if planned else 0.0


def error_rates_differ(experiment: Experiment, pairs: Sequence[tuple[Block, Block]]) -> str:
    """That they do, or nothing. Failing fast would count as being fast, and failing often as being cheap."""
    before, after = failed([pair[0] for pair in pairs]), failed([pair[1] for pair in pairs])
    if abs(after - before) <= experiment.guards.failed_difference:
        return ""
    return f"error rates differ ({words.percent(before)} before, {words.percent(after)} after)"

"""From blocks to what they say: effects, verdict, bill, and in plain words what a pattern brings and what it costs."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from costlab.lab import guards, metrics, outcomes, recovery, statistics, words
from costlab.lab.bill import Bill, Difference, bill, break_even_words
from costlab.lab.block import Block
from costlab.lab.effect import Effect, effect, error_rates_differ, from_or_to_nought, paired
from costlab.lab.experiment import Experiment
from costlab.lab.price_sheet import PRICES, load_assumptions
from costlab.lab.toml_file import Closed
from costlab.lab.verdict import Verdict, decide

DEFAULT_SHEET = "aws-fargate"
THE_BILL = "the bill"  # among what is unclear: it divides by successful requests


class Conclusion(Closed):
    """``brings`` and ``costs``: what clearly changed for the better and the worse. ``unclear``: what this run cannot
    tell. ``outcomes``: what became of the blocks, on a day with faults. ``caveats``: read them too.
    """

    verdict: Verdict
    effects: list[Effect]
    bill: Bill | None
    brings: list[str]
    costs: list[str]
    unclear: list[str]
    caveats: list[str]
    outcomes: list[str] = Field(default_factory=list)

    def effect(self, metric: str, variant: str) -> Effect:
        """The effect of ``variant`` on ``metric``."""
        return next(e for e in self.effects if (e.metric, e.variant) == (metric, variant))

    def sides(self) -> dict[str, list[str]]:
        """What it brings, costs and leaves open, each under its heading; and what became of the blocks."""
        said = {"It brings": self.brings, "It costs": self.costs, "Not clear": self.unclear}
        return said | ({"Of the blocks": self.outcomes} if self.outcomes else {})


def conclude(
    experiment: Experiment,
    blocks: Sequence[Block],
    seed: int,
    quick: bool,
    prices: Path = PRICES,
    floors: Mapping[str, float] | None = None,
    no_floor: str = "",
) -> Conclusion:
    """What the blocks say. The same arguments say the same.

    ``floors``: what identical variants differed by, by metric, as a share; None without an A/A run that holds, and then
    ``no_floor`` may say why.
    """
    counted = [block for block in blocks if not block.repeated]
    effects = [
        effect(experiment, blocks, name, variant, seed)
        for variant in experiment.names()[1:]
        for name in experiment.metrics()
    ]
    primary = experiment.primary
    main = next(e for e in effects if (e.metric, e.variant) == (primary.metric, primary.variant))
    month = bill(experiment, blocks, DEFAULT_SHEET, load_assumptions(prices), seed, prices)
    # Another variant may be spoilt without spoiling these two; its broken guards are among the caveats.
    spoilt = guards.spoilt([block for block in counted if block.variant in _deciding(experiment)])
    own = [one for one in effects if one.variant == primary.variant]
    new_or_gone = {one.metric for one in own if from_or_to_nought(experiment, blocks, one)}
    better, worse, unclear = _sides(own, new_or_gone, _edges(experiment, floors or {}), spoilt)
    if month is not None and (spoilt or error_rates_differ(experiment, paired(blocks, *_deciding(experiment)))):
        unclear.append(THE_BILL)
    elif month is not None:
        side = _bill_side(month.differences[primary.variant])
        (better if side < 0 else worse if side > 0 else []).append(_bill_words(month.differences[primary.variant]))
    return Conclusion(
        verdict=decide(primary, main, spoilt, quick, (floors or {}).get(primary.metric, 0.0)),
        effects=effects,
        bill=month,
        brings=better,
        costs=worse,
        unclear=unclear,
        outcomes=outcomes.lines(experiment, blocks),
        caveats=[*_caveats(experiment, blocks, quick, main), *([_floorless(no_floor)] if floors is None else [])],
    )


def _deciding(experiment: Experiment) -> tuple[str, str]:
    """The two variants of which the verdict is."""
    return experiment.baseline, experiment.primary.variant


class _Edges(NamedTuple):
    """As ratios above 1: what lies within ``nothing`` is no change; beyond ``clear`` it is one, whatever the noise."""

    nothing: float
    clear: float


def _edges(experiment: Experiment, floors: Mapping[str, float]) -> dict[str, _Edges]:
    """By metric: what matters of it, and this machine's noise floor where that is larger."""
    matters = {name: metrics.named(name).matters for name in experiment.metrics()}
    matters[experiment.primary.metric] = experiment.primary.threshold()
    return {name: _Edges(1 + share, 1 + max(share, floors.get(name, 0.0))) for name, share in matters.items()}


def _sides(
    effects: Sequence[Effect], new_or_gone: Collection[str], edges: Mapping[str, _Edges], spoilt: Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    """The effects that are clear of what counts, for the better and for the worse; those that are not clear.

    ``new_or_gone``: metrics that one of the two has none of in any round and the other some in each.
    """
    better, worse, unclear = [], [], []
    for one in effects:
        metric = metrics.named(one.metric)
        moved = f"({words.figure(one.metric, one.before)} to {words.figure(one.metric, one.after)})"
        told = one.exact or not spoilt
        if one.ratio is None:
            side = better if (metric.better == "higher") == bool(one.after) else worse
            if not words.not_compared(one) and (one.before or one.after) and None not in (one.before, one.after):
                (side if told and one.metric in new_or_gone else unclear).append(f"{metric.label} {moved}")
            continue
        went = _went(one, edges[one.metric]) if told else "unclear"
        if went == "unclear":
            unclear.append(metric.label)
        elif went != "nowhere":
            side = better if went == metric.better else worse
            side.append(f"{metric.label} {words.change(one.ratio)} {moved}")
    return better, worse, unclear


def _went(one: Effect, edges: _Edges) -> Literal["lower", "higher", "nowhere", "unclear"]:
    """Where the figure went. One round has no interval: anything is possible."""
    low = 0.0 if one.low is None else one.low
    high = math.inf if one.high is None else one.high
    if high < 1 / edges.clear:
        return "lower"
    if low > edges.clear:
        return "higher"
    return "nowhere" if low >= 1 / edges.nothing and high <= edges.nothing else "unclear"


def _bill_side(difference: Difference) -> int:
    if difference.low is not None and difference.low > 0:
        return 1
    if difference.high is not None and difference.high < 0:
        return -1
    return 0


def _bill_words(difference: Difference) -> str:
    side = "more" if difference.usd > 0 else "less"
    return f"{abs(difference.usd):.2f} USD a month {side}, {break_even_words(difference)}"


def _floorless(why: str) -> str:
    return f"{why or 'no A/A run'}: this machine's own noise floor is not part of the threshold"


def _caveats(experiment: Experiment, blocks: Sequence[Block], quick: bool, main: Effect) -> list[str]:
    counted = [block for block in blocks if not block.repeated]
    rounds = len({block.round for block in counted})
    caveats = []
    if quick:
        caveats.append(
            f"quick form: {rounds} round{'s' if rounds > 1 else ''} of {experiment.quick.block_seconds:g} s; "
            f"the full form has {experiment.rounds.count} of {experiment.rounds.block_seconds:g} s"
        )
    if sources := {block.queries.note for block in counted if block.queries.note}:
        caveats.append("database queries are those the services counted, because " + "; ".join(sorted(sources)))
    caveats += [f"guard broken: {line}" for line in guards.broken(counted)]
    if missing := guards.unseen(counted):
        caveats.append(f"this machine does not tell: {'; '.join(missing)}")
    ill = sum(recovery.cut_off(block.series, block.faults, block.seconds) for block in counted)
    if ill and "recovery_seconds" in experiment.metrics():
        caveats.append(f"{ill} of {len(counted)} blocks ended before all was well: their recovery is a lower bound")
    if repeated := sum(block.repeated for block in blocks):
        still = "block was" if repeated == 1 else "blocks were"
        caveats.append(f"{repeated} {still} still warming up and repeated")
    if not main.exact and (wider := statistics.widened([math.log(ratio) for ratio in main.ratios])) > 1:
        caveats.append(f"rounds resemble their neighbours, so the interval was made {wider:.1f} times as wide")
    return caveats

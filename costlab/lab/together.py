"""Several days reported together: the more claims are made at once, the likelier one of them is right by chance.

Holm's correction raises the p value of each tested primary metric for the number of them. A CONFIRMED whose corrected
p is above 0.05 is INCONCLUSIVE among so many. Counted metrics are not tested and stand as they are; REFUTED claims
nothing that chance could have made. Fewer than six rounds cannot reach 0.05 whatever they show: they are not tested
either, which is said, and do not count among the tested. Source for that: Tarone, "A modified Bonferroni method for
discrete data", 1990.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from costlab.lab.effect import Effect
from costlab.lab.result import Result
from costlab.lab.statistics import holm

LIKELY = 0.05


@dataclass(frozen=True)
class Outcome:
    """A day's result, or in one line why it has none."""

    day: str
    result: Result | None = None
    failure: str = ""


@dataclass(frozen=True)
class Line:
    """One day of the summary; ``p`` is corrected, None where nothing was tested."""

    day: str
    effect: Effect | None
    p: float | None
    verdict: str


def summary(outcomes: Sequence[Outcome]) -> list[Line]:
    """A line per day, the verdicts corrected for being several."""
    effects = {outcome.day: outcome.result and outcome.result.decisive() for outcome in outcomes}
    tested = {day: effect.p for day, effect in effects.items() if effect is not None and _testable(effect)}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [
        Line(o.day, effects[o.day], corrected.get(o.day), _word(o, effects[o.day], corrected.get(o.day), len(tested)))
        for o in outcomes
    ]


def _testable(effect: Effect) -> bool:
    """Whether its rounds could have a p of 0.05: the smallest there is has all of them on one side."""
    return effect.p is not None and 2 / 2 ** len(effect.ratios) <= LIKELY


def _word(outcome: Outcome, effect: Effect | None, p: float | None, tested: int) -> str:
    if outcome.result is None:
        return "FAILED"
    if outcome.result.conclusion is None:
        return "no complete round"
    word = outcome.result.conclusion.verdict.word
    if word == "CONFIRMED" and p is None and not effect.exact:
        return f"CONFIRMED alone ({len(effect.ratios)} rounds are too few to be tested)"
    if word == "CONFIRMED" and p is not None and p > LIKELY:
        return f"INCONCLUSIVE (CONFIRMED alone; p {p:.2g} among {tested} tested)"
    return word

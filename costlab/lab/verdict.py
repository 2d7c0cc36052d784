"""CONFIRMED, REFUTED or INCONCLUSIVE, from one effect and the threshold declared before the run.

                  -threshold      0      +threshold
    predicted lower:
    CONFIRMED   [----]  |                 |            wholly beyond the threshold, the predicted way
    REFUTED             |   [-------]     |            wholly inside: nothing that matters happens
    REFUTED             |                 |   [----]   wholly beyond it, the other way
    INCONCLUSIVE      [------]            |            across a threshold: more rounds would tell

To be beyond, an interval has to be clear of the machine's noise floor too. A floor that is larger than the threshold
leaves a gap in which nothing is said: what a machine cannot tell from noise is not shown to be nothing.
Thresholds are shares of the ratio's logarithm: 5 % lies at ratio 1.05 and at 1/1.05.
"""

import math
from typing import Literal

from costlab.lab import words
from costlab.lab.effect import Effect
from costlab.lab.experiment import TAIL, TAIL_ROUNDS, Primary
from costlab.lab.toml_file import Closed

MOST_ROUNDS = 200
Word = Literal["CONFIRMED", "REFUTED", "INCONCLUSIVE"]


class Verdict(Closed):
    """The word, why, and for an INCONCLUSIVE one how many rounds would settle it (None: no sensible number)."""

    word: Word
    reason: str
    rounds_to_settle: int | None = None
    quick: bool


def decide(primary: Primary, effect: Effect, spoilt: list[str], quick: bool, floor: float = 0.0) -> Verdict:
    """The verdict on the primary metric. ``spoilt``: guards that forbid a comparison of times.

    ``floor``: what identical variants differ by on this machine today, as a share; a change has to be beyond the larger
    of the two. Of what is counted it is nought, unless chance has a hand in it (what is still in a cache).
    """
    if effect.ratio is None:
        return _verdict("INCONCLUSIVE", effect.refused, quick)
    if spoilt and not effect.exact:
        return _verdict("INCONCLUSIVE", f"the comparison is spoilt: {'; '.join(spoilt)}", quick)
    if primary.metric == TAIL and len(effect.ratios) < TAIL_ROUNDS:
        return _verdict("INCONCLUSIVE", f"a p99 takes {TAIL_ROUNDS} rounds", quick, rounds=TAIL_ROUNDS)
    if effect.low is None or effect.high is None:
        return _verdict("INCONCLUSIVE", "one round has no interval; at least two are needed", quick, rounds=2)
    inner, edge = math.log1p(primary.threshold()), math.log1p(max(primary.threshold(), floor))
    limit = _limit(primary, floor)
    low, high = (math.log(end) if end > 0 else -math.inf for end in (effect.low, effect.high))
    if primary.direction == "higher":
        low, high = -high, -low
    span = f"{words.span(effect)}, {_kind(effect)}"
    if high < -edge:
        return _verdict("CONFIRMED", f"{span}: wholly beyond {limit}, as predicted", quick)
    if low > edge:
        return _verdict("REFUTED", f"{span}: wholly beyond {limit}, but the other way", quick)
    if low >= -inner and high <= inner:
        return _verdict("REFUTED", f"{span}: within {_limit(primary, 0.0)}, so no change that matters", quick)
    rounds = None if effect.exact else rounds_to_settle(low, high, inner, edge, len(effect.ratios))
    more = f"about {rounds} rounds would settle it" if rounds else "more rounds of this length would hardly settle it"
    return _verdict("INCONCLUSIVE", f"{span}: not clear of {limit}; {more}", quick, rounds)


def rounds_to_settle(low: float, high: float, inner: float, edge: float, rounds: int) -> int | None:
    """How many rounds would make the interval narrow enough to lie within ``inner`` or beyond ``edge``.

    Its width shrinks with the root of their number. None: more than MOST_ROUNDS, or its middle is between the two.
    """
    middle, half = abs(low + high) / 2, (high - low) / 2
    distance = max(inner - middle, middle - edge)
    needed = math.inf if distance <= 0 else math.floor(rounds * (half / distance) ** 2 + 1e-9) + 1
    return int(needed) if needed <= MOST_ROUNDS else None


def _verdict(word: Word, reason: str, quick: bool, rounds: int | None = None) -> Verdict:
    return Verdict(word=word, reason=reason, rounds_to_settle=rounds, quick=quick)


def _kind(effect: Effect) -> str:
    rounds = f"{len(effect.ratios)} round{'s' if len(effect.ratios) > 1 else ''}"
    return f"the range of {rounds}, counted exactly" if effect.exact else f"95 % interval of {rounds}"


def _limit(primary: Primary, floor: float) -> str:
    if floor > primary.threshold():
        # The same distance either way is not the same number of per cent: 0.673 and 1.485 are.
        return f"this machine's noise floor of {100 / (1 + floor) - 100:.1f} to +{100 * floor:.1f} %"
    return f"the threshold of {100 * primary.threshold():g} %"

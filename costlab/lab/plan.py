"""In which order the blocks of a run come, and with which seed the requests of each round are drawn.

Two variants A and B alternate as ABBA BAAB ABBA ...: within four rounds each comes first twice, so a machine that
warms up or slows down steadily favours neither. More than two are permuted at random in each round. All of it
follows from one recorded seed, and every variant of a round gets the same requests.

Source: Abedi & Brecht, "Conducting repeatable experiments in highly variable cloud computing environments", ICPE'17.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

_SWAPPED = (False, True, True, False)


@dataclass(frozen=True)
class Planned:
    """One block to come. ``seed`` draws its requests and is the same for every variant of the round."""

    round: int
    variant: str
    seed: int


def plan(variants: Sequence[str], rounds: int, seed: int) -> list[Planned]:
    """Every block of ``rounds`` rounds, in order. The same arguments give the same plan."""
    draw = random.Random(seed)  # noqa: S311 - an order that can be repeated, not a secret
    swap_first = draw.random() < 0.5
    blocks = []
    for number in range(1, rounds + 1):
        request_seed = int(draw.random() * 2**32)
        if len(variants) == 2:
            swapped = _SWAPPED[(number - 1) % 4] != swap_first
            order = list(reversed(variants)) if swapped else list(variants)
        else:
            # Sorting by random() and not shuffle(): Python promises its sequence for every version to come.
            order = sorted(variants, key=lambda _: draw.random())
        blocks += [Planned(number, variant, request_seed) for variant in order]
    return blocks

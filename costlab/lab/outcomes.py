"""Yes or no: what became of the blocks of a day with faults, each of them one trial from a fresh state.

    well again in time: off 10 of 10 (72 to 100 %), breaker 9 of 10 (60 to 98 %, p = 1)

The interval of a share is Wilson's, 95 %; p is that of Fisher's exact test against the baseline, two-sided.

Example: none of ten trials failed. That is no proof that none will: up to 28 % may, and against a baseline in which
three of ten did p is 0.21.
Trade-off: a yes is less than a figure; it needs more trials to tell two variants apart. Use instead: a figure, such as
the seconds to recovery, where every trial has one.
Sources: Wilson, "Probable inference, the law of succession, and statistical inference", 1927; Fisher, "The logic of
inductive inference", 1935; Brown, Cai & DasGupta, "Interval estimation for a binomial proportion", 2001.
"""

from collections.abc import Callable, Iterator, Sequence

from costlab.lab import recovery, statistics
from costlab.lab.block import Block
from costlab.lab.experiment import Experiment


def lines(experiment: Experiment, blocks: Sequence[Block]) -> list[str]:
    """What became of the blocks that a metric of the day is about, an outcome a line; none on a day without faults."""
    counted = [block for block in blocks if not block.repeated]
    asked = [one for metric, one in _OUTCOMES.items() if experiment.faults and metric in experiment.metrics()]
    return [f"{name}: {', '.join(_variants(experiment, counted, happened))}" for name, happened in asked]


def _well_again(block: Block) -> bool:
    return not recovery.cut_off(block.series, block.faults, block.seconds)


def _done_once(block: Block) -> bool:
    return block.orders is not None and not block.orders.lost and not block.orders.duplicated


_OUTCOMES: dict[str, tuple[str, Callable[[Block], bool]]] = {
    "recovery_seconds": ("well again in time", _well_again),
    "lost_orders": ("every order done once", _done_once),
}


def _variants(experiment: Experiment, blocks: Sequence[Block], happened: Callable[[Block], bool]) -> Iterator[str]:
    first = [happened(block) for block in blocks if block.variant == experiment.baseline]
    for name in experiment.names():
        found = [happened(block) for block in blocks if block.variant == name]
        if not found:
            continue
        low, high = statistics.wilson(sum(found), len(found))
        p = statistics.fisher_two_sided_p(sum(first), len(first), sum(found), len(found))
        against = "" if name == experiment.baseline else f", p = {p:.2g}"
        yield f"{name} {sum(found)} of {len(found)} ({100 * low:.0f} to {100 * high:.0f} %{against})"

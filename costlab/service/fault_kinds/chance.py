"""Chance that repeats: what a fault does to the n-th request it meets follows from its seed and n, and nothing else.

Example: seed 7, rate 0.3: requests 2, 5 and 6 of a process fail, today and in a year. Two processes with the same
fault both fail their own requests 2, 5 and 6.

Trade-off: "the n-th request" is the n-th to arrive at the fault. One thread repeats exactly; with several threads the
same numbers are drawn, but which request draws which depends on who is faster.
Use instead: no seed, when runs shall differ; one is drawn then, and shown.

Units: none. Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (counters in place of state).
"""

from random import Random

from costlab.service.fault_kinds.effects import Effect, Kind

_APART = 2**40


def decide(kind: Kind, rate: float, seed: int, number: int) -> Effect | None:
    """What ``kind`` does to request ``number`` (from 0); None to those that ``rate`` lets pass."""
    random = Random(seed * _APART + number)  # noqa: S311 - repeats on purpose
    return kind.effect(random) if random.random() < rate else None

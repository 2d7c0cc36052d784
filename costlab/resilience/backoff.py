"""Backoff and jitter: how long to wait before trying again, so that those who failed together do not return together.

Example: base 50 ms, cap 2 s, pauses before the 2nd to 6th attempt:

    immediate             0     0      0      0      0
    exponential          50   100    200    400    800 ms      everybody at the same moments
    equal_jitter      25-50 50-100 100-200 200-400 400-800 ms  at least half of it
    full_jitter        0-50  0-100  0-200  0-400  0-800 ms     anywhere in it
    decorrelated_jitter  50-150, then from 50 ms to three times the last pause

Trade-off: the longer and the more random the pauses, the fewer calls are wasted on each other and the longer the
unlucky one waits. Exponential without jitter only moves the crowd to a later moment.

Use instead: a queue or a lock, when the contenders can line up; a retry budget, when the upstream is overloaded and
any further attempt makes it worse.

Units: seconds; ``base`` is the first pause, ``cap`` the longest. Source: Brooker, "Exponential Backoff And Jitter",
AWS Architecture Blog (2015).
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import TypeAlias

Backoff: TypeAlias = Callable[[float, float, Random], Iterator[float]]


def immediate(base: float, cap: float, random: Random) -> Iterator[float]:
    """No pause at all."""
    while True:
        yield 0.0


def exponential(base: float, cap: float, random: Random) -> Iterator[float]:
    """min(cap, base * 2^n) before retry n = 0, 1, 2 ..."""
    pause = min(cap, base)
    while True:
        yield pause
        pause = min(cap, pause * 2)


def equal_jitter(base: float, cap: float, random: Random) -> Iterator[float]:
    """Half of the exponential pause, and a random part of the other half."""
    for longest in exponential(base, cap, random):
        yield longest / 2 + random.uniform(0, longest / 2)


def full_jitter(base: float, cap: float, random: Random) -> Iterator[float]:
    """A random part of the exponential pause."""
    for longest in exponential(base, cap, random):
        yield random.uniform(0, longest)


def decorrelated_jitter(base: float, cap: float, random: Random) -> Iterator[float]:
    """Between base and three times the last pause: it grows from what was drawn, not from a count."""
    pause = base
    while True:
        pause = min(cap, random.uniform(base, pause * 3))
        yield pause


BACKOFFS: dict[str, Backoff] = {
    "immediate": immediate,
    "exponential": exponential,
    "equal_jitter": equal_jitter,
    "full_jitter": full_jitter,
    "decorrelated_jitter": decorrelated_jitter,
}

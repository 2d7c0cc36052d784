"""Mulberry32: a 32-bit pseudo-random generator whose whole state is one number.

Load is drawn from it because k6 (JavaScript) and Python must draw the same: 32-bit integer arithmetic is exact in
both. Request i has its own stream, seeded by hashing (seed, i), so that any k6 virtual user can draw request i
without having drawn those before it. Numbers are multiples of 2^-32: enough to reach each of 200,000 products, not
for cryptography. Python's `random` is the better generator where no twin in another language is needed.
Twin: loadtests/lib/mulberry32.js. Sources: Tommy Ettinger's Mulberry32 (2017, public domain); MurmurHash3's
finaliser by Austin Appleby.
"""

_MASK = 0xFFFFFFFF


def mix32(value: int) -> int:
    """Spread neighbouring numbers over all 32 bits (MurmurHash3 finaliser)."""
    h = value & _MASK
    h = (h ^ h >> 16) * 0x85EBCA6B & _MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & _MASK
    return h ^ h >> 16


class Mulberry32:
    """A stream of numbers from one 32-bit seed."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    @classmethod
    def for_request(cls, seed: int, index: int) -> "Mulberry32":
        """The stream of request `index` under `seed`."""
        return cls(mix32(mix32(seed) ^ index))

    def next(self) -> float:
        """The next number, evenly spread over [0, 1)."""
        state = self._state = self._state + 0x6D2B79F5 & _MASK
        word = (state ^ state >> 15) * (state | 1) & _MASK
        word ^= word + (word ^ word >> 7) * (word | 61) & _MASK
        return ((word ^ word >> 14) & _MASK) / 4294967296

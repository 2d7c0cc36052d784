"""Zipf's law by inverse CDF: rank k of n comes up in proportion to 1 / k^s."""

import math

_EXACT = 64
_STRIDE = 7919


class Zipf:
    """Draws ids with a Zipf popularity: a few ids take most of the traffic.

    With s = 0.99 over 10,000 users the most popular one gets 10 % of the requests and the first hundred get half,
    which is what makes a cache worth having. The inverse CDF is searched by bisection in H(k), the generalised
    harmonic number: summed up to k = 64, by Euler-Maclaurin beyond (relative error below 1e-9), so it needs no
    table of n entries (every k6 virtual user would hold its own copy of 200,000) at the price of about 17
    evaluations a draw (10 µs). Rank r is mapped to the id `from + (r - 1) * 7919 mod n`: a bijection as long as
    7919, a prime, does not divide n. So popular rows do not sit side by side on one database page.
    Use a uniform range where no key is more popular than another.
    Twin: loadtests/lib/zipf.js. Sources: Breslau et al., "Web caching and Zipf-like distributions", INFOCOM 1999;
    s = 0.99 as in YCSB (Cooper et al., SoCC 2010).
    """

    def __init__(self, s: float, low: int, high: int) -> None:
        self._s = s
        self._low = low
        self._size = high - low + 1
        self._head = [0.0]
        for k in range(1, _EXACT + 1):
            self._head.append(self._head[-1] + math.pow(k, -s))
        self._foot = math.pow(_EXACT, -s)
        self._total = self.harmonic(self._size)

    @staticmethod
    def accepts(low: int, high: int) -> bool:
        """Whether ranks map one to one to ids in this range."""
        return (high - low + 1) % _STRIDE != 0

    def harmonic(self, k: int) -> float:
        """Sum of j^-s for j = 1..k."""
        if k <= _EXACT:
            return self._head[k]
        s = self._s
        high, low = math.pow(k, -s), self._foot
        area = math.log(k / _EXACT) if s == 1 else (high * k - low * _EXACT) / (1 - s)
        return self._head[_EXACT] + area + (high - low) / 2 - (s / 12) * (high / k - low / _EXACT)

    def rank(self, u: float) -> int:
        """The smallest rank whose cumulative share is above u."""
        target = u * self._total
        low, high = 1, self._size
        while low < high:
            middle = (low + high) // 2
            if self.harmonic(middle) > target:
                high = middle
            else:
                low = middle + 1
        return low

    def draw(self, u: float) -> int:
        """The id for u in [0, 1)."""
        return self._low + (self.rank(u) - 1) * _STRIDE % self._size

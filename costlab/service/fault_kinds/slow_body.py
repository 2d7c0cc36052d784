"""Slow body: the answer begins at once and then dribbles in.

Example: 4,000 bytes at 1,000 bytes per second take 4 s, though the first byte came after a millisecond: a timeout per
read never fires, one for the whole call does.

Trade-off: on requests that come in it is the sender that is slow, for every client; at an edge the service reads that
slowly from its upstream, which has long forgotten the request. A thread is held for as long.
Use instead: ``latency`` when it does not matter in which part of the answer the time goes.

Units: bytes per second. Source: Nygard, "Release It!", slow responses; Toxiproxy, ``bandwidth``.
"""

from random import Random

from costlab.service.fault_kinds.effects import Dribble


class SlowBody:
    """Lets ``bytes_per_second`` through."""

    def __init__(self, bytes_per_second: float) -> None:
        self._dribble = Dribble(bytes_per_second)

    def effect(self, random: Random) -> Dribble:
        """Always the same."""
        return self._dribble

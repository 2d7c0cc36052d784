"""What a fault does to one request or call. Four effects are all there are; each edge carries them out in its own way
(costlab/service/fault_edges.py).
"""

import math
from random import Random
from typing import NamedTuple, Protocol


class Wait(NamedTuple):
    """Go on after ``seconds``; infinite: when the fault ends."""

    seconds: float


class Answer(NamedTuple):
    """Answer with this HTTP status and do nothing else."""

    status: int


class Break(NamedTuple):
    """Break the connection."""


class Dribble(NamedTuple):
    """Let the body through at this pace."""

    bytes_per_second: float


Effect = Wait | Answer | Break | Dribble
FOR_EVER = Wait(math.inf)


class Kind(Protocol):
    """A fault that meets single requests or calls; made with its parameters."""

    def effect(self, random: Random) -> Effect:
        """What it does to one of them. All chance comes from ``random``."""

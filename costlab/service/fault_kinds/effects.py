"""What a fault does: to one request or call, or to the service as a whole.

Five effects on a request are all there are; each edge carries them out in its own way
(costlab/service/fault_edges.py).
"""

import math
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol


class Wait(NamedTuple):
    """Go on after ``seconds``; infinite: when the fault ends."""

    seconds: float


class Answer(NamedTuple):
    """Answer with this HTTP status and do nothing else."""

    status: int


class Break(NamedTuple):
    """Break the connection, ``seconds`` from now."""

    seconds: float = 0.0


class Crash(NamedTuple):
    """The process dies, ``seconds`` from now."""

    seconds: float


class Dribble(NamedTuple):
    """Let the body through at this pace."""

    bytes_per_second: float


Effect = Wait | Answer | Break | Crash | Dribble
FOR_EVER = Wait(math.inf)


class Kind(Protocol):
    """A fault that meets single requests or calls; made with its parameters."""

    def effect(self, random: Random) -> Effect:
        """What it does to one of them. All chance comes from ``random``."""


class Cuttable(Protocol):
    """A slot pool; ``flag`` says how many slots it has."""

    flag: str

    def wanted(self) -> int:
        """The slots it has by its flag; 0 while it is off."""

    def cut(self, share: float) -> None:
        """Take ``share`` of the slots away."""

    def restore(self, share: float) -> None:
        """Give back what that took."""


class Configurable(Protocol):
    """A configuration document."""

    def refusal(self, setting: str, value: object) -> str:
        """Why ``value`` would not arrive, or would not be bad, in words that follow the service's name; else ""."""

    def slip_in(self, owner: object, setting: str, value: object) -> None:
        """Let ``value`` arrive as documents do, unchecked; it is ``owner``'s."""

    def withdraw(self, owner: object) -> None:
        """Take back at once what is ``owner``'s."""


@dataclass
class Parts:
    """What of a service a fault of the whole may reach."""

    slots: Cuttable | None = None
    configuration: Configurable | None = None


class WholeKind(Protocol):
    """A fault of the service as a whole; made with its parameters."""

    def refusal(self, parts: Parts) -> str:
        """Why it does not fit the service, in words that follow its name; "" when it does."""

    def start(self, parts: Parts) -> None:
        """Begin."""

    def stop(self, parts: Parts) -> None:
        """End."""

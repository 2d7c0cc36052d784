"""Random sequences of faults for the soak (soak.py): what may be broken where, and how hard, drawn from a seed.

    draw(seed=7, number=12, menu=..., seconds=5)
        0.0 s   latency on orders, edge postgres, rate 0.41, ms=97     for 3.4 s
        1.9 s   kill on redis
        at 5.0 s cleared, or left to end by themselves

Sequence ``number`` of a seed is the same whatever was drawn before it, so a failure repeats alone. Sizes lie around the
defaults in costlab/faults.toml, a quarter to twice of them: a fault that stops everything for minutes tests patience.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from costlab.service.faults import INBOUND, SEEDS, WHOLE, Fault, Parameter, Registry, Value, kind_of
from costlab.stack.wire import TOXIPROXY, edges

SERVICES = ("gateway", "users", "orders", "cache-proxy", "worker")
SERVERS = ("postgres", "redis")
MOST = 3
# Where a fault of the input fits, and the parameters that are given instead of drawn: the burst must not place orders,
# because every order of the soak is counted.
_INPUTS: dict[str, tuple[tuple[str, ...], dict[str, Value]]] = {
    "bad_setting": (("orders",), {}),
    "bad_version": (("users",), {}),
    "poison_tenant": (("users", "orders"), {"client": "demo"}),
    "traffic_burst": (("gateway",), {"traffic": "browse"}),
}
# Those that need a flag, which the soak sets, or fit some services only.
FLAGS = {"users.slots": 8, "service.config_validation": "off"}
_SLOTTED = ("users",)


@dataclass(frozen=True)
class Timed:
    """The fault in ``document`` (the fields of a wish), ``at`` seconds into its sequence."""

    at: float
    document: dict[str, object]


@dataclass(frozen=True)
class Drawn:
    """Faults by their time; ``cleared``: ended at the end of the sequence, or else by themselves."""

    number: int
    faults: tuple[Timed, ...]
    cleared: bool


@dataclass(frozen=True)
class Choice:
    """A fault at one place."""

    fault: Fault
    on: str
    edge: str = ""


Menu = dict[str, list[list[Choice]]]


def menu(wire: bool) -> Menu:
    """What may be drawn: by level, for each fault the places it fits. ``wire``: calls go through toxiproxy."""
    found: Menu = {}
    for fault in Registry.load():
        if wire or fault.level != "wire":
            found.setdefault(fault.level, []).append(list(_places(fault, wire)))
    return found


def draw(seed: int, number: int, choices: Menu, seconds: float) -> Drawn:
    """Sequence ``number`` of ``seed``, which lasts ``seconds``. Each level is as likely as another."""
    random = Random(f"{seed}:{number}")  # noqa: S311 - repeats on purpose
    times = sorted([0.0, *(random.uniform(0, 0.6 * seconds) for _ in range(random.randint(0, MOST - 1)))])
    faults = [Timed(at, _document(random, _chosen(random, choices), seconds - at)) for at in times]
    return Drawn(number, tuple(faults), random.random() < 0.5)


def _chosen(random: Random, choices: Menu) -> Choice:
    faults = choices[random.choice(list(choices))]
    return random.choice(random.choice(faults))


def _places(fault: Fault, wire: bool) -> Iterable[Choice]:
    if fault.level == "process":
        names: tuple[str, ...] = (*SERVICES, *SERVERS, *([TOXIPROXY] if wire else []))
    elif fault.level == "input":
        names = _INPUTS[fault.name][0]
    else:
        names = _SLOTTED if fault.name == "capacity_cut" else SERVICES
    if WHOLE in fault.at or INBOUND in fault.at:
        yield from (Choice(fault, name) for name in names)
    for edge in edges():
        if kind_of(edge.dependency) in fault.at:
            yield Choice(fault, edge.service, edge.dependency)


def _document(random: Random, choice: Choice, left: float) -> dict[str, object]:
    fault = choice.fault
    place = kind_of(choice.edge) if choice.edge else WHOLE if WHOLE in fault.at else INBOUND
    document: dict[str, object] = {"fault": fault.name, "on": choice.on, "edge": choice.edge}
    document["ttl"] = round(max(1.0, random.uniform(0.5, 1.0) * left), 1)
    if fault.seeded:
        document["seed"] = random.randrange(SEEDS)
    if fault.rate is not None:
        document["rate"] = random.choice([1, round(random.uniform(0.05, 1), 2)])
    given = _INPUTS[fault.name][1] if fault.level == "input" else {}
    document["parameters"] = {
        name: given.get(name) or _value(random, parameter) for name, parameter in fault.parameters_at(place).items()
    }
    return document


def _value(random: Random, parameter: Parameter) -> Value:
    if parameter.text:
        return parameter.default
    if parameter.values:
        return random.choice(parameter.values)
    drawn = min(parameter.high, max(parameter.low, float(parameter.default) * 2 ** random.uniform(-2, 1)))
    return math.floor(drawn) if parameter.whole else round(drawn, 3)

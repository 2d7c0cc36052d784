"""Faults: what can be broken on purpose, and the words for it. Every level and every tool speaks these.

    Fault    a row of faults.toml                       latency
    Wish     what somebody asks for, every word checked  latency of 200 ms on users, at edge postgres, for 60 s
    Record   a wish that was granted: with an id, since when and until when

Parsing is strict: an unknown fault, field, place or parameter, or a value out of range, is refused with what is
allowed. Nothing is silently ignored, because a fault that does nothing looks like a system that withstands it.
"""

import random
import re
import secrets
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import files
from typing import Any

from costlab.service import problem

LEVELS = ("service", "wire", "process", "input")
# Requests that come in; calls that go out, by what is called; the service as such.
INBOUND, WHOLE, UPSTREAM = "inbound", "whole", "upstream"
PLACES = (INBOUND, UPSTREAM, "postgres", "redis", WHOLE)
DEFAULT_SECONDS = 60.0
SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 3600.0
SEEDS = 2**32
_NUMBER = re.compile(r"[+-]?([0-9]{1,15}(\.[0-9]{1,15})?|\.[0-9]{1,15})")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,15}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

Value = float | int | str


class BadFault(ValueError):
    """What was asked for is no fault; the message says what is allowed."""


@dataclass(frozen=True)
class Parameter:
    """A number from ``low`` to ``high``, one of ``values`` or a ``text`` of that pattern; ``at`` are the places where
    it means something.
    """

    name: str
    default: Value
    help: str
    low: float = 0
    high: float = 0
    whole: bool = False
    values: tuple[str, ...] = ()
    text: str = ""
    at: tuple[str, ...] = PLACES

    def allowed(self) -> str:
        """What may be given, in words: ``1 to 60000``, ``400 to 599 (whole)``, ``up or down``."""
        if self.text:
            return f"text that is {self.text}"
        return problem.join(self.values) if self.values else _range(self.low, self.high, self.whole)

    def parse(self, raw: object) -> Value:
        """The typed value of ``raw``; BadFault says what is allowed."""
        if self.text:
            if isinstance(raw, str) and re.fullmatch(self.text, raw):
                return raw
        elif self.values:
            if raw in self.values:
                return str(raw)
        else:
            number = _number(raw, self.whole)
            if number is not None and self.low <= number <= self.high:
                return number
        raise BadFault(f"{self.name} cannot be {raw!r}; allowed: {self.allowed()}")


@dataclass(frozen=True)
class Fault:
    """One row of faults.toml. ``rate`` is None where a fault knows no rate; ``draws``: chance has a part in it all the
    same; one that does not ``lasts`` is over once it is done."""

    name: str
    level: str
    at: tuple[str, ...]
    help: str
    rate: float | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    draws: bool = False
    lasts: bool = True

    @property
    def seeded(self) -> bool:
        """Whether anything about it is drawn from a seed of ours."""
        return not self.seedless()

    def seedless(self) -> str:
        """Why it takes no seed; "" when it takes one."""
        if self.level == "wire":
            return "chance is drawn inside toxiproxy, whose own option for a seed is without effect (2.12)"
        return "" if self.draws or self.rate is not None else "nothing about it is left to chance"

    def parameters_at(self, place: str) -> dict[str, Parameter]:
        """The parameters that mean something at ``place``."""
        return {name: parameter for name, parameter in self.parameters.items() if place in parameter.at}

    def parse(self, given: Mapping[str, object], place: str) -> dict[str, Value]:
        """``given`` typed, and the defaults of the others."""
        known = self.parameters_at(place)
        if unknown := [name for name in given if name not in known]:
            raise BadFault(f"{self.name} at {place} has no parameter {unknown[0]!r}; {_there_are(known)}")
        return {
            name: parameter.parse(given[name]) if name in given else parameter.default
            for name, parameter in known.items()
        }


@dataclass(frozen=True)
class Wish:
    """A fault that somebody wants: ``on`` names a service or an instance of one, ``edge`` what it calls ("": requests
    that come in), ``route`` a route of it ("": all), ``ttl`` seconds."""

    fault: str
    on: str
    edge: str = ""
    route: str = ""
    rate: float = 1
    seed: int = 0
    ttl: float = DEFAULT_SECONDS
    parameters: Mapping[str, Value] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON; ``Registry.wish`` reads it back."""
        return asdict(self)


@dataclass(frozen=True)
class Record:
    """A wish in force ``since`` and ``until`` (Unix seconds). ``instance``: only in that one, as it calls itself."""

    id: str
    fault: str
    on: str
    since: float
    until: float
    edge: str = ""
    route: str = ""
    rate: float = 1
    seed: int = 0
    parameters: Mapping[str, Value] = field(default_factory=dict)
    instance: str = ""

    @classmethod
    def of(cls, wish: Wish, now: float, instance: str = "") -> "Record":
        """``wish`` granted ``now``."""
        said = {name: value for name, value in wish.document().items() if name != "ttl"}
        return cls(id=secrets.token_hex(4), since=now, until=now + wish.ttl, instance=instance, **said)

    def left(self, now: float) -> float:
        """Seconds left, whatever the clock of another machine says: never more than it was given."""
        return max(0.0, min(self.until - now, self.until - self.since))

    def document(self) -> dict[str, Any]:
        """As JSON; ``Registry.record`` reads it back."""
        return asdict(self)

    def words(self) -> str:
        """In a line: ``latency on users, edge postgres, rate 0.3, ms=200, seed 7``; what draws nothing has no seed."""
        parts = [f"{self.fault} on {self.on}"]
        parts += [f"{name} {value}" for name, value in (("edge", self.edge), ("route", self.route)) if value]
        parts += [f"rate {self.rate:g}"] if self.rate != 1 else []
        parts += [
            f"{name}={value if isinstance(value, str) else f'{value:.12g}'}" for name, value in self.parameters.items()
        ]
        parts += [f"seed {self.seed}"] if self.seed else []
        return ", ".join(parts)


class Registry:
    """All faults by name, as faults.toml lists them."""

    def __init__(self, faults: Mapping[str, Fault]) -> None:
        self._faults = dict(faults)

    @classmethod
    def load(cls) -> "Registry":
        """The registry in costlab/faults.toml."""
        rows = tomllib.loads(files("costlab").joinpath("faults.toml").read_text())
        return cls({name: _fault(name, row) for name, row in rows.items()})

    def __iter__(self):
        return iter(self._faults.values())

    def __getitem__(self, name: object) -> Fault:
        if name in self._faults:
            return self._faults[name]
        raise BadFault(f"there is no fault {name!r}; there are: {', '.join(self._faults)}")

    def wish(
        self,
        document: Mapping[str, object],
        draw_seed: Callable[[], int] = lambda: random.randrange(SEEDS),  # noqa: S311
    ) -> Wish:
        """The wish in ``document``, which has the fields of Wish; what is left out gets its default or is drawn."""
        _refuse_unknown(document, Wish)
        fault = self[document.get("fault")]
        edge = _text(document, "edge")
        place = _place(fault, edge)
        if place not in fault.at:
            raise BadFault(f"{fault.name} does not fit {_where(edge)}; it fits: {problem.join(fault.at)}")
        return Wish(
            fault=fault.name,
            on=_service(document),
            edge=edge,
            route=_route(document, place),
            rate=_rate(document, fault),
            seed=_seed(document, fault, draw_seed),
            ttl=_in_range("ttl", document.get("ttl", DEFAULT_SECONDS), SHORTEST_SECONDS, LONGEST_SECONDS),
            parameters=fault.parse(_table(document, "parameters"), place),
        )

    def record(self, document: Mapping[str, object]) -> Record:
        """The record in ``document``, which ``Record.document`` made."""
        _refuse_unknown(document, Record)
        if missing := {"id", "since", "until"} - set(document):
            raise BadFault(f"a record without {', '.join(sorted(missing))}")
        since, until = (_in_range(name, document[name], 0, 1e12) for name in ("since", "until"))
        said = {name: value for name, value in document.items() if name in _WISH - {"ttl"}}
        wish = self.wish(said | {"ttl": round(until - since, 3)})
        rest = {name: value for name, value in wish.document().items() if name != "ttl"}
        instance = document.get("instance", "")
        if not isinstance(instance, str):
            raise BadFault(f"instance cannot be {instance!r}")
        return Record(id=_text(document, "id"), since=since, until=until, instance=instance, **rest)


_WISH = frozenset(each.name for each in fields(Wish))


def _fault(name: str, row: Mapping[str, Any]) -> Fault:
    known = {"level", "at", "rate", "help", "parameters", "draws", "lasts"}
    if unknown := set(row) - known:
        raise ValueError(f"faults.toml: {name}: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    if row["level"] not in LEVELS or not set(row["at"]) <= set(PLACES):
        raise ValueError(f"faults.toml: {name}: level is {problem.join(LEVELS)}; at is any of {', '.join(PLACES)}")
    parameters = {key: _parameter(key, entry) for key, entry in row.get("parameters", {}).items()}
    return Fault(
        name=name,
        level=row["level"],
        at=tuple(row["at"]),
        help=row["help"],
        rate=row.get("rate"),
        parameters=parameters,
        draws=row.get("draws", False),
        lasts=row.get("lasts", True),
    )


def _parameter(name: str, row: Mapping[str, Any]) -> Parameter:
    known = {"values", "number", "integer", "text", "default", "help", "at"}
    if unknown := set(row) - known:
        raise ValueError(f"faults.toml: {name}: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    low, high = row.get("number") or row.get("integer") or (0, 0)
    parameter = Parameter(
        name=name,
        default=row["default"],
        help=row["help"],
        low=low,
        high=high,
        whole="integer" in row,
        values=tuple(row.get("values", ())),
        text=row.get("text", ""),
        at=tuple(row.get("at", PLACES)),
    )
    return replace(parameter, default=parameter.parse(parameter.default))


def kind_of(edge: str) -> str:
    """What an edge leads to: ``postgres``, ``redis`` or another service, ``upstream``."""
    return edge if edge in ("postgres", "redis") else UPSTREAM


def _place(fault: Fault, edge: str) -> str:
    if edge:
        return kind_of(edge)
    return WHOLE if WHOLE in fault.at else INBOUND


def _where(edge: str) -> str:
    return f"edge {edge}" if edge else "requests that come in"


def _refuse_unknown(document: object, model: type) -> None:
    known = [each.name for each in fields(model)]
    if not isinstance(document, Mapping):
        raise BadFault(f"a fault is an object with {', '.join(known)}")
    if unknown := [name for name in document if name not in known]:
        raise BadFault(f"unknown field {unknown[0]!r}; allowed: {', '.join(known)}")


def _text(document: Mapping[str, object], name: str) -> str:
    """A name, or "" for none."""
    given = document.get(name, "")
    if isinstance(given, str) and (not given or _NAME.fullmatch(given)):
        return given
    raise BadFault(f"{name} cannot be {given!r}; allowed: small letters, digits, - and _")


def _service(document: Mapping[str, object]) -> str:
    service = _text(document, "on")
    if not service:
        raise BadFault("on is missing: the service that has the fault")
    return service


def _route(document: Mapping[str, object], place: str) -> str:
    route = document.get("route", "")
    if not isinstance(route, str) or (route and not route.startswith("/")):
        raise BadFault(f"route cannot be {route!r}; allowed: a route such as /users/{{id}}")
    if route and place != INBOUND:
        raise BadFault("a route goes with requests that come in, not with an edge or a whole service")
    return route


def _rate(document: Mapping[str, object], fault: Fault) -> float:
    given = document.get("rate")
    if fault.rate is None:
        if given not in (None, 1):
            raise BadFault(f"{fault.name} has no rate: it concerns the service as a whole")
        return 1
    if given is None and "rate" not in document:
        return fault.rate
    rate = _in_range("rate", given, 0, 1)
    if rate == 0:
        raise BadFault("rate cannot be 0; allowed: above 0 up to 1")
    return rate


def _seed(document: Mapping[str, object], fault: Fault, draw: Callable[[], int]) -> int:
    if reason := fault.seedless():
        if document.get("seed", 0) != 0:
            raise BadFault(f"{fault.name} takes no seed: {reason}")
        return 0
    return _in_range("seed", document["seed"], 0, SEEDS - 1, True) if "seed" in document else draw()


def _table(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    given = document.get(name, {})
    if not isinstance(given, Mapping):
        raise BadFault(f"{name} cannot be {given!r}; allowed: an object of names and values")
    return given


def _in_range(name: str, raw: object, low: float, high: float, whole: bool = False) -> Any:
    number = _number(raw, whole)
    if number is None or not low <= number <= high:
        raise BadFault(f"{name} cannot be {raw!r}; allowed: {_range(low, high, whole)}")
    return number


def _number(raw: object, whole: bool) -> int | float | None:
    """``raw``, a number or the text of one as a command line has it; None when it is neither."""
    if isinstance(raw, str):
        if whole:
            return int(raw) if _WHOLE_NUMBER.fullmatch(raw) else None
        return float(raw) if _NUMBER.fullmatch(raw) else None
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    return None if whole and not isinstance(raw, int) else raw


def _range(low: float, high: float, whole: bool) -> str:
    return f"{low:.12g} to {high:.12g}{' (whole)' if whole else ''}"


def _there_are(parameters: Mapping[str, Parameter]) -> str:
    return f"there are: {', '.join(parameters)}" if parameters else "it has none"

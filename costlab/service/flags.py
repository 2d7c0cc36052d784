"""Flags: every knob of the system, set once, in force in every process in under a second.

    costlab flags set ──► any service's internal port ──► Redis: hash of values + revision, one message
                                                              │
              each process: a thread that listens, and re-reads every second ──► a dict

Reading a flag is a dict look-up in the process. When Redis is away the last values stay in force.
Flags of kind "restart" are recorded in the same place, and read by the next process (restart_flags.py).
So are rollouts (rollout.py), in a field of their own beside the flag's. Whoever sets the flag itself ends its rollout.
"""

import re
import threading
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from costlab.service import logs, problem, rollout
from costlab.service.revisioned_hash import RevisionedHash
from costlab.service.rollout import BadRollout, Rollout

VALUES = "costlab:flags"
REVISION = "costlab:flags:revision"
# The field of a flag's rollout in the same hash.
ROLLOUT = "rollout:"
REREAD_SECONDS = 1.0

KINDS = ("live", "restart")

Value = str | float | int

# As JSON writes them. Python's own int() and float() also take 1_6, +4 and the digits of every script.
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class UnknownFlag(ValueError):
    """A flag name that is not in flags.toml."""


class BadFlagValue(ValueError):
    """A value the flag does not allow."""


@dataclass(frozen=True)
class Flag:
    """One row of flags.toml: either ``values`` (a choice) or ``low`` to ``high``, plus the words in ``also``.

    ``rollout``: it is read for each request of a user, so it may differ from user to user.
    """

    name: str
    default: Value
    owner: str
    help: str
    values: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    whole: bool = False
    also: tuple[str, ...] = ()
    kind: str = "live"
    rollout: bool = False

    def allowed(self) -> str:
        """What may be set, in words: ``off or ttl``, ``1 to 64 (whole), or none``."""
        if self.values:
            return problem.join(self.values)
        numbers = f"{self.low:g} to {self.high:g}{' (whole)' if self.whole else ''}"
        return f"{numbers}, or {problem.join(self.also)}" if self.also else numbers

    def parse(self, raw: object) -> Value:
        """The typed value of ``raw``; BadFlagValue says what is allowed."""
        text = str(raw).strip()
        if text in self.values or text in self.also:
            return text
        if not self.values and not isinstance(raw, bool):
            number = self._number(text)
            if number is not None and self.low <= number <= self.high:
                return number
        raise BadFlagValue(f"{self.name} cannot be {text!r}; allowed: {self.allowed()}")

    def _number(self, text: str) -> int | float | None:
        if not (_WHOLE if self.whole else _NUMBER).fullmatch(text):
            return None
        return int(text) if self.whole else float(text)


class Registry:
    """All flags by name, as flags.toml lists them."""

    def __init__(self, flags: Mapping[str, Flag]) -> None:
        self._flags = dict(flags)

    @classmethod
    def load(cls) -> "Registry":
        """The registry in costlab/flags.toml."""
        rows = tomllib.loads(files("costlab").joinpath("flags.toml").read_text())
        return cls({name: _flag(name, row) for name, row in rows.items()})

    def __iter__(self):
        return iter(self._flags.values())

    def __getitem__(self, name: str) -> Flag:
        try:
            return self._flags[name]
        except KeyError:
            raise UnknownFlag(f"there is no flag {name!r}; there are: {', '.join(self._flags)}") from None

    def defaults(self) -> dict[str, Value]:
        """Every flag at its default."""
        return {flag.name: flag.default for flag in self}

    def parse(self, changes: Mapping[str, object]) -> dict[str, Value | None]:
        """``changes`` typed; None asks for the default. Unknown names and values are refused, all or nothing."""
        flags = [(self[name], raw) for name, raw in changes.items()]
        return {flag.name: None if raw is None else flag.parse(raw) for flag, raw in flags}

    def check_rollout(self, name: str, value: str) -> None:
        """Raise UnknownFlag, BadRollout or BadFlagValue unless ``value`` of that flag may be rolled out."""
        flag = self[name]
        if not flag.rollout:
            may = ", ".join(flag.name for flag in self if flag.rollout)
            raise BadRollout(f"{name} is the same for all users; what can be rolled out: {may}")
        flag.parse(value)


def _flag(name: str, row: Mapping[str, Any]) -> Flag:
    known = {"values", "number", "integer", "also", "default", "owner", "help", "kind", "rollout"}
    if unknown := set(row) - known:
        raise ValueError(f"flags.toml: {name}: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    if row.get("kind", "live") not in KINDS:
        raise ValueError(f"flags.toml: {name}: kind is {problem.join(KINDS)}")
    low, high = row.get("number") or row.get("integer") or (0, 0)
    flag = Flag(
        name=name,
        default=row["default"],
        owner=row["owner"],
        help=row["help"],
        values=tuple(row.get("values", ())),
        low=low,
        high=high,
        whole="integer" in row,
        also=tuple(row.get("also", ())),
        kind=row.get("kind", "live"),
        rollout=row.get("rollout", False),
    )
    if flag.rollout and (not flag.values or flag.kind != "live"):
        raise ValueError(f"flags.toml: {name}: only a live choice can be rolled out")
    return replace(flag, default=flag.parse(flag.default))


class FlagStore:
    """The flags as Redis holds them: what ``costlab flags`` and the internal port read and write."""

    def __init__(self, redis: Redis, registry: Registry) -> None:
        self._hash = RevisionedHash(redis, VALUES)
        self._registry = registry

    def read(self) -> tuple[int, dict[str, Value]] | None:
        """Revision and values of all flags; None when nothing was ever set (or Redis lost it)."""
        held = self.given()
        return None if held is None else (held[0], self._registry.defaults() | held[1])

    def given(self) -> tuple[int, dict[str, Value]] | None:
        """Revision and the values somebody has set; None when nothing was ever set (or Redis lost it)."""
        held = self.held()
        return None if held is None else held[:2]

    def held(self) -> tuple[int, dict[str, Value], dict[str, Rollout]] | None:
        """The same, and the rollouts by flag, those included whose time is over."""
        held = self._hash.read()
        return None if held is None else (held[0], self._known(held[1]), self._rollouts(held[1]))

    def set(self, changes: Mapping[str, object]) -> int:
        """Set all of ``changes`` at once (None: back to the default), ending their rollouts; the new revision."""
        typed = self._registry.parse(changes)
        ended: dict[str, str | None] = {ROLLOUT + name: None for name in typed if self._registry[name].rollout}
        return self._hash.set(ended | {name: None if value is None else str(value) for name, value in typed.items()})

    def roll_out(self, rollouts: Mapping[str, Rollout | None]) -> int:
        """Put all of ``rollouts`` in force at once (None: end it); the new revision."""
        for name, wish in rollouts.items():
            self._registry.check_rollout(name, self._registry[name].default if wish is None else wish.value)
        return self._hash.set({ROLLOUT + name: wish and wish.dump() for name, wish in rollouts.items()})

    def listen(self, refresh: Callable[[], None], ended: Callable[[], bool]) -> None:
        """Call ``refresh`` at each change, and every REREAD_SECONDS, until ``ended``."""
        self._hash.listen(refresh, ended, REREAD_SECONDS)

    def _known(self, raw: Mapping[str, str]) -> dict[str, Value]:
        """Values this code knows; a newer or older one may have left others in Redis, which are logged, not used."""
        known: dict[str, Value] = {}
        for name, value in raw.items():
            if name.startswith(ROLLOUT):
                continue
            try:
                flag = self._registry[name]
                known[flag.name] = flag.parse(value)
            except ValueError as error:
                logs.get("flags").warning("flag.ignored", extra={"reason": str(error)})
        return known

    def _rollouts(self, raw: Mapping[str, str]) -> dict[str, Rollout]:
        """Rollouts this code knows, likewise."""
        known: dict[str, Rollout] = {}
        for field, text in raw.items():
            name = field.removeprefix(ROLLOUT)
            if name == field:
                continue
            try:
                found = rollout.load(text)
                self._registry.check_rollout(name, found.value)
                known[name] = found
            except ValueError as error:
                logs.get("flags").warning("rollout.ignored", extra={"flag": name, "reason": str(error)})
        return known


class Flags:
    """The flags in force in this process.

    ``flags["cache.ttl"]`` is a dict look-up. ``start`` takes over what Redis holds and follows it, ``stop`` ends that.
    ``applied`` is called with each revision once it is in force. ``fixed``: what this process was started with, and
    no revision changes.
    """

    def __init__(
        self,
        registry: Registry,
        redis: Redis,
        applied: Callable[[int], None] = lambda revision: None,
        fixed: Mapping[str, Value] | None = None,
    ) -> None:
        self._fixed = dict(fixed or {})
        self._defaults = registry.defaults()
        self._values = self._defaults | self._fixed
        self._rollouts: dict[str, Rollout] = {}
        self._store = FlagStore(redis, registry)
        self._redis = redis
        self._applied = applied
        self._revision = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._listeners: list[Callable[[], None]] = []

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def snapshot(self) -> dict[str, Value]:
        """All values in force now."""
        return dict(self._values)

    @property
    def rollouts(self) -> Mapping[str, Rollout]:
        """Rollouts by flag; one whose ``until`` has passed counts no more."""
        return self._rollouts

    @property
    def revision(self) -> int:
        """The revision in force; 0 before the first was seen."""
        return self._revision

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each change, in the thread that follows Redis."""
        self._listeners.append(listener)

    def refresh(self) -> None:
        """Take over what Redis holds, if it is new. Nothing there, or Redis away: the last values stay."""
        held = self._store.held()
        if held is None or held[0] == self._revision:
            return
        revision, values, self._rollouts = held
        self._values = self._defaults | values | self._fixed
        self._revision = revision
        for listener in self._listeners:
            listener()
        self._applied(revision)

    def preload(self) -> None:
        """Take over the values that Redis holds, in a process that follows nothing: it forks those that do."""
        try:
            held = self._store.read()
        except RedisError as error:
            logs.get("flags").warning("flags.redis_away", extra={"reason": str(error)})
            return
        finally:
            self._redis.close()
        if held is not None:
            self._values = held[1] | self._fixed

    def start(self) -> None:
        """Take over what Redis holds, then follow it from a thread of this process."""
        try:
            self.refresh()
        except RedisError as error:
            logs.get("flags").warning("flags.redis_away", extra={"reason": str(error)})
        self._thread = threading.Thread(target=self._follow, name="flags", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following; returns when the thread has ended."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * REREAD_SECONDS)

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                self._store.listen(self.refresh, self._stopped.is_set)
            except RedisError as error:
                logs.get("flags").warning("flags.redis_away", extra={"reason": str(error)})
                self._stopped.wait(0.2)

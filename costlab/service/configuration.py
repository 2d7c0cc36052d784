"""Configuration document: a few settings of a service that an operator changes while it runs, and how they reach it.

    costlab config set ──► internal port ──► Redis: document + revision ──► each process, as ``service.config`` says:
                           422 when bad                                     refused there when bad: the last good stays

``restart``  only a process that starts reads it. A bad value spreads as fast as somebody restarts.
``poll``     each process reads it every ``service.config_poll`` seconds, at a moment of its own.
``push``     one message, and every process has it within milliseconds, the bad one as well. A message that is lost with
             its connection is made up for within REREAD_SECONDS.

With ``service.config_validation`` on, a document that breaks its schema is refused twice: at the door, with what is
allowed, and by every process that reads it all the same (somebody wrote to Redis, or an older version let it in); that
process goes on with the last good one and counts it. Off, it is taken over as it is.

Example: three processes, ``service.config_poll=10``, and ``max_page`` becomes "many". Off: after 10 s all three answer
every history with 500; with push after some milliseconds; with restart after a third of the rolling restart a third of
the histories fail, and whoever looks can stop there. On: one refusal, no failing request.
Trade-off: push mends as fast as it breaks; poll is slower both ways, and its load grows with the processes; restart
needs nothing but a restart, and a service that depends on it cannot be mended without one. A schema knows what is
allowed, not what is wise: 1 passes for ``max_page``.
Use instead: a setting of the environment for what no operator changes; a flag for what is on trial. Flags are a system
of their own, always pushed and always validated: they are the hand that runs the experiment, which must arrive the
same way whatever ``service.config`` says, for they carry it. What both stand on is revisioned_hash.py.
Units: seconds; revisions are milliseconds of Redis's clock and never repeat. Source: Beyer et al., "The Site
Reliability Workbook" ch. 14 and 15 (configuration); Huang et al., "Metastable Failures in the Wild" (OSDI '22).
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, Generic, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from redis import Redis
from redis.exceptions import RedisError

from costlab.service import logs, metrics
from costlab.service.flags import Flags
from costlab.service.revisioned_hash import RevisionedHash

RETRY_SECONDS = 0.2
# redis-py connects and subscribes again without a word, so nobody hears of the messages it has missed.
REREAD_SECONDS = 5.0
TAKEN, REFUSED, TURNED_AWAY = "taken", "refused", "turned_away"
# What faults slipped in, each its setting and value, by whose it is; the last of a setting counts.
Slips = dict[object, tuple[str, object]]

# Seeded by the system at every draw: processes forked from one another must not look all at once.
_random = SystemRandom()

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class InForce(Generic[Document]):
    """A document and its revision; revision 0 is what the schema says by itself."""

    revision: int
    document: Document


class BadValue(ValueError):
    """A field that the schema does not have, or a value it does not allow. ``errors`` has one item for each."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{error['field']}: {error['message']}" for error in errors))
        self.errors = errors


class Schema(Generic[Document]):
    """What a document may hold: a model of whole numbers, each with a default and bounds."""

    def __init__(self, model: type[Document]) -> None:
        self._model = model
        self._fields: dict[str, dict[str, Any]] = model.model_json_schema()["properties"]

    def default(self) -> Document:
        """The document nobody has changed."""
        return self._model()

    def parse(self, given: Mapping[str, object]) -> Document:
        """The document with ``given`` in place of its defaults; BadValue says what is allowed."""
        try:
            return self._model.model_validate(dict(given), strict=True)
        except ValidationError as error:
            raise BadValue([self._error(str(item["loc"][0]), item["msg"]) for item in error.errors()]) from error

    def unchecked(self, given: Mapping[str, object]) -> Document:
        """The same with values that nobody has looked at."""
        return self._model.model_construct(**{name: given[name] for name in self._fields if name in given})

    def describe(self) -> dict[str, dict[str, object]]:
        """Each field: its default, what is allowed, what it is for."""
        return {
            name: {"default": field["default"], "allowed": _bounds(field), "help": field["description"]}
            for name, field in self._fields.items()
        }

    def _error(self, field: str, message: str) -> dict[str, str]:
        if field not in self._fields:
            return {"field": field, "message": f"no such field; there are {', '.join(self._fields)}"}
        allowed = _bounds(self._fields[field])
        return {"field": field, "message": f"{message}; allowed: {allowed}", "allowed": allowed}


def _bounds(field: Mapping[str, Any]) -> str:
    return f"{field['minimum']} to {field['maximum']} (whole)"


class Acceptance(Generic[Document]):
    """What one process runs with, and what it makes of a document it is shown. Pure: told everything, asks nobody."""

    def __init__(self, schema: Schema[Document]) -> None:
        self._schema = schema
        self._good = self._taken = InForce(0, schema.default())
        self._seen = 0
        self._slipped: Slips = {}
        self._refused: Slips = {}
        self.in_force = self._good

    def offer(self, revision: int, given: Mapping[str, object], validation: bool) -> str | None:
        """Take over the document ``given`` or refuse it; None when it was seen before, or is older."""
        fallen_back = self.validate() if validation else None
        if revision <= (self._seen if validation else self._taken.revision):
            return fallen_back
        self._seen = max(self._seen, revision)
        try:
            self._good = self._taken = InForce(revision, self._schema.parse(given))
        except BadValue:
            if validation:
                return REFUSED
            self._taken = InForce(revision, self._schema.unchecked(given))
        self._cover()
        return TAKEN

    def validate(self) -> str | None:
        """Validation is on: go back to the last good document, if the one in force is not."""
        if self.in_force is self._good:
            return None
        self._taken, self._slipped, self._refused = self._good, {}, self._slipped
        self._cover()
        return REFUSED

    def slip_in(self, given: Slips, validation: bool) -> str | None:
        """Take over ``given`` on top of whatever is offered, or refuse it; None when it is there."""
        if given == self._slipped:
            return None
        if validation:
            known, self._refused = given == self._refused, dict(given)
            return None if known else REFUSED
        self._slipped = dict(given)
        self._cover()
        return TAKEN

    def withdraw(self, owner: object) -> None:
        """Take back what ``owner`` slipped in."""
        self._slipped.pop(owner, None)
        self._cover()

    def _cover(self) -> None:
        taken = self._taken
        covered = dict(taken.document) | dict(self._slipped.values())
        self.in_force = InForce(taken.revision, self._schema.unchecked(covered)) if self._slipped else taken


class ConfigurationStore:
    """The document of one service as Redis holds it: a hash, each value in JSON."""

    def __init__(self, redis: Redis, service: str) -> None:
        self._hash = RevisionedHash(redis, f"costlab:config:{service}")

    def read(self) -> tuple[int, dict[str, object]] | None:
        """Revision and fields that somebody has set; None when nobody has (or Redis lost them)."""
        held = self._hash.read()
        return None if held is None else (held[0], {name: _value(text) for name, text in held[1].items()})

    def set(self, changes: Mapping[str, object]) -> int:
        """Set all of ``changes`` at once (None: back to the default); the new revision."""
        encoded = {name: None if value is None else orjson.dumps(value).decode() for name, value in changes.items()}
        return self._hash.set(encoded)

    def listen(self, refresh: Callable[[], None], ended: Callable[[], bool]) -> None:
        """Call ``refresh`` once, at each change and every REREAD_SECONDS, until ``ended``."""
        self._hash.listen(refresh, ended, REREAD_SECONDS)


def _value(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


class Configuration(Generic[Document]):
    """The document of ``service`` in this process: ``configuration.document`` is a look-up.

    ``start`` reads it once, whatever the flags say, and follows it as they say; ``stop`` ends that.
    """

    def __init__(
        self,
        service: str,
        model: type[Document],
        redis: Redis,
        flags: Flags,
        uniform: Callable[[float, float], float] = _random.uniform,
    ) -> None:
        self.service = service
        self.schema = Schema(model)
        self.store = ConfigurationStore(redis, service)
        self._acceptance = Acceptance(self.schema)
        self._flags = flags
        self._uniform = uniform
        self._lock = threading.Lock()
        self._revision = metrics.CONFIG_REVISION.labels(service)
        self._outcomes = metrics.Children(metrics.CONFIG_DOCUMENTS)
        self._read = False
        self._slipped: Slips = {}
        self._stopped = False
        self._woken = threading.Event()
        self._way = self._asked()
        self._thread: threading.Thread | None = None
        self._modes = {"restart": self._rest, "poll": self._poll, "push": self._listen}

    @property
    def document(self) -> Document:
        """What is in force now."""
        return self._acceptance.in_force.document

    @property
    def revision(self) -> int:
        """Its revision; 0 before anybody changed anything."""
        return self._acceptance.in_force.revision

    @property
    def validated(self) -> bool:
        """Whether bad documents are refused."""
        return self._flags["service.config_validation"] == "on"

    def stored(self) -> tuple[int, dict[str, object]]:
        """Revision and fields of the document that Redis holds, in force here or not."""
        return self.store.read() or (0, {})

    def set(self, changes: Mapping[str, object]) -> int:
        """Store ``changes`` (None: back to the default); the new revision. BadValue when validation is on and the
        document would break the schema; nothing is stored then."""
        if self.validated:
            changed = {name: value for name, value in (self.stored()[1] | changes).items() if value is not None}
            try:
                self.schema.parse(changed)
            except BadValue:
                self._outcomes[TURNED_AWAY,].inc()
                raise
        return self.store.set(changes)

    def refusal(self, setting: str, value: object) -> str:
        """Why a fault (costlab/service/fault_kinds/bad_setting.py) cannot let ``setting`` be ``value``; else ""."""
        fields = self.schema.describe()
        if setting not in fields:
            return f"has no setting {setting!r}; it has: {', '.join(fields)}"
        try:
            self.schema.parse({setting: value})
        except BadValue as error:
            return f"refuses the document, as service.config_validation is on: {error}" if self.validated else ""
        return f"allows {setting} to be {value!r}, so nothing would be bad; allowed: {fields[setting]['allowed']}"

    def slip_in(self, owner: object, setting: str, value: object) -> None:
        """Let ``value`` arrive as ``service.config`` says, on top of what the document holds; of several on one setting
        the last counts."""
        with self._lock:
            self._slipped = self._slipped | {owner: (setting, value)}
            if self._flags["service.config"] == "push":
                self._take_slipped()

    def withdraw(self, owner: object) -> None:
        """Take back what ``owner`` slipped in, at once."""
        with self._lock:
            self._slipped = {other: slip for other, slip in self._slipped.items() if other != owner}
            self._acceptance.withdraw(owner)

    def _take_slipped(self) -> None:
        self._record(self._acceptance.slip_in(self._slipped, self.validated))

    def refresh(self) -> None:
        """Look at what Redis holds. Nothing there, or Redis away: what is in force stays."""
        held = self.store.read()
        self._read = True
        with self._lock:
            self._see(held)

    def start(self) -> None:
        """Read the document, then follow it from a thread of this process."""
        self._record(None)
        self._flags.on_change(self._follow_flags)
        self._follow_flags()
        self._try(self.refresh)
        self._thread = threading.Thread(target=self._run, name="configuration", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following; returns when the thread has ended."""
        self._stopped = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def _asked(self) -> tuple[object, ...]:
        names = ("service.config", "service.config_poll", "service.config_validation")
        return tuple(self._flags[name] for name in names)

    def _follow_flags(self) -> None:
        asked = self._asked()
        if asked == self._way:
            return
        with self._lock:
            self._way = asked
            if self.validated:
                self._record(self._acceptance.validate())
            self._woken.set()

    def _run(self) -> None:
        while True:
            self._woken.clear()
            if self._stopped:
                return
            # A process whose Redis was away when it started has not read its document yet.
            self._try(self._modes[self._flags["service.config"]] if self._read else self.refresh)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except RedisError as error:
            logs.get("configuration").warning("configuration.redis_away", extra={"reason": str(error)})
            self._woken.wait(RETRY_SECONDS)

    def _look(self) -> None:
        """Refresh, unless the way has changed in the meantime: the new one looks when it will."""
        held = self.store.read()
        with self._lock:
            if not self._woken.is_set():
                self._see(held)

    def _see(self, held: tuple[int, Mapping[str, object]] | None) -> None:
        if held is not None:
            self._record(self._acceptance.offer(*held, self.validated))
        self._take_slipped()

    def _rest(self) -> None:
        self._woken.wait()

    def _poll(self) -> None:
        """The first look comes at a random moment, so that the processes of a service do not look all at once."""
        seconds = self._flags["service.config_poll"]
        pause = self._uniform(0, seconds)
        while not self._woken.wait(pause):
            self._look()
            pause = seconds

    def _listen(self) -> None:
        self.store.listen(self._look, self._woken.is_set)

    def _record(self, outcome: str | None) -> None:
        self._revision.set(self.revision)
        if outcome is not None:
            self._outcomes[outcome,].inc()
        if outcome == REFUSED:
            logs.get("configuration").error("configuration.refused", extra={"kept": self.revision})

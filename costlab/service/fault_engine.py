"""The faults in force in this process: begun when Redis tells of them, ended by the process's own clock.

    costlab chaos add ──► internal port of the service ──► Redis: hash of records + revision, one message
                                                               │
                        each process: a thread that follows ──► Edge.active, Inbound.active

What is active ends at its time whether or not Redis, the command or the stack still live: each has a timer of its own.
When Redis is away what is active stays so until then.
"""

import re
import socket
import threading
import time
from collections.abc import Callable, Sequence

from redis import Redis
from redis.exceptions import RedisError

from costlab.service import logs, metrics
from costlab.service.fault_edges import Active, Edge, Inbound, pattern, shape
from costlab.service.fault_kinds import KINDS, WHOLE_KINDS, made_inside
from costlab.service.fault_kinds.effects import Parts, WholeKind
from costlab.service.fault_store import CHANNEL, FaultStore
from costlab.service.faults import BadFault, Record, Registry, Wish

REREAD_SECONDS = 1.0
RETRY_SECONDS = 0.2


class ActiveWhole:
    """A fault of the service as a whole, in force from when it is made until ``end``."""

    def __init__(self, record: Record, kind: WholeKind, ends: float, parts: Parts) -> None:
        self.record = record
        self.ends = ends
        self._kind = kind
        self._parts = parts
        kind.start(parts)

    def end(self) -> None:
        """Stop it."""
        self._kind.stop(self._parts)


class Seen:
    """A fault made outside the services: nothing is done about it here, but it is shown until ``ends``."""

    def __init__(self, record: Record, ends: float) -> None:
        self.record = record
        self.ends = ends

    def end(self) -> None:
        """It is over."""


class FaultEngine:
    """Faults of ``service`` in this process. ``port`` tells its instance from others on the same machine; ``clock`` is
    monotonic, and decides when a fault is over. ``watches``: metrics, logs and spans of this service show the faults
    too that are made outside of all services; one of them does it, the gateway."""

    def __init__(
        self,
        service: str,
        redis: Redis,
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
        watches: bool = False,
    ) -> None:
        self._clock = clock
        self._watches = watches
        self.registry = Registry.load()
        self.store = FaultStore(redis, self.registry)
        self.inbound = Inbound(self._route)
        self.parts = Parts()
        self.service = service
        self._redis = redis
        self._instance = f"{socket.gethostname()}:{port}"
        self._edges: dict[str, Edge] = {}
        self._routes: list[Callable[[], Sequence[str]]] = []
        self._active: dict[str, Active | ActiveWhole | Seen] = {}
        self._timers: dict[str, threading.Timer] = {}
        self._over: set[str] = set()
        self._revision = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._applied = metrics.FAULTS_REVISION.labels(service)
        self._gauges = metrics.Children(metrics.FAULTS_ACTIVE)

    @property
    def revision(self) -> int:
        """The revision in force; 0 before the first was seen."""
        return self._revision

    def edge(self, name: str) -> Edge:
        """The edge to ``name``; calls to it pass its faults from now on."""
        return self._edges.setdefault(name, Edge(name))

    def know_routes(self, routes: Callable[[], Sequence[str]]) -> None:
        """``routes()`` are further routes whose requests may have faults of their own."""
        self._routes.append(routes)

    def upstreams(self) -> list[str]:
        """The services this one calls."""
        return [name for name in self._edges if name not in ("postgres", "redis")]

    def records(self) -> list[Record]:
        """What is active in this process now."""
        return [record for record in self.known() if made_inside(record.fault)]

    def known(self) -> list[Record]:
        """That, and what is made outside, as far as this service watches."""
        now = self._clock()
        return [active.record for active in list(self._active.values()) if active.ends > now]

    def outside(self, document: object) -> Record:
        """The record in ``document`` of a fault that others make; BadFault when it is none."""
        if not self._watches:
            raise BadFault(f"{self.service} does not watch faults that are made outside")
        record = self.registry.record(document)
        if made_inside(record.fault):
            raise BadFault(f"{record.fault} is made inside a service")
        return record

    def granted(self, wish: Wish) -> Record:
        """The record of ``wish``, which begins now; BadFault says why this service cannot have it."""
        if not made_inside(wish.fault):
            raise BadFault(f"{wish.fault} is not made inside a service")
        if wish.on != self.service and not re.fullmatch(rf"{self.service}-[1-9][0-9]*", wish.on):
            raise BadFault(f"this is {self.service}, not {wish.on}")
        if wish.edge and wish.edge not in self._edges:
            raise BadFault(f"{self.service} has no edge {wish.edge!r}; it has: {', '.join(self._edges) or 'none'}")
        if wish.fault in WHOLE_KINDS and (refusal := WHOLE_KINDS[wish.fault](**wish.parameters).refusal(self.parts)):
            raise BadFault(f"{wish.fault} does not fit: {self.service} {refusal}")
        routes = {shape(route): route for provider in self._routes for route in provider()}
        if wish.route and shape(wish.route) not in routes:
            raise BadFault(f"{self.service} has no route {wish.route!r}; it has: {', '.join(sorted(routes.values()))}")
        return Record.of(wish, time.time(), "" if wish.on == self.service else self._instance)

    def refresh(self) -> None:
        """Take over what Redis holds, if it is new. Nothing there, or Redis away: what is active stays."""
        held = self.store.read()
        if held is None or held[0] == self._revision:
            return
        revision, records = held
        for identity in set(self._active) - set(records):
            self._end(identity, "cleared")
        for record in records.values():
            if self._concerns(record):
                self._begin(record)
        self._revision = revision
        self._applied.set(revision)

    def start(self) -> None:
        """Take over what Redis holds, then follow it from a thread of this process."""
        try:
            self.refresh()
        except RedisError as error:
            logs.get("faults").warning("faults.redis_away", extra={"reason": str(error)})
        self._thread = threading.Thread(target=self._follow, name="faults", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End what is active, and stop following."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * REREAD_SECONDS)
        for identity in list(self._active):
            self._end(identity, "stopped")

    def _concerns(self, record: Record) -> bool:
        if record.id in self._active or record.id in self._over or record.instance not in ("", self._instance):
            return False
        if not made_inside(record.fault):
            return self._watches
        service = record.on if not record.instance else record.on.rpartition("-")[0]
        return service == self.service

    def _begin(self, record: Record) -> None:
        left = record.left(time.time())
        if not left:
            return
        active = self._made(record, self._clock() + left)
        timer = threading.Timer(left, self._end, [record.id, "expired"])
        timer.daemon = True
        with self._lock:
            self._active[record.id], self._timers[record.id] = active, timer
            self._place(record)
        timer.start()
        self._say("fault.started", record, seconds=round(left, 3))

    def _made(self, record: Record, ends: float) -> "Active | ActiveWhole | Seen":
        if not made_inside(record.fault):
            return Seen(record, ends)
        if record.fault in WHOLE_KINDS:
            return ActiveWhole(record, WHOLE_KINDS[record.fault](**record.parameters), ends, self.parts)
        return Active(record, KINDS[record.fault](**record.parameters), ends, self._clock)

    def _end(self, identity: str, reason: str) -> None:
        with self._lock:
            active = self._active.pop(identity, None)
            if active is None:
                return
            self._over.add(identity)
            self._timers.pop(identity).cancel()
            self._place(active.record)
        active.end()
        self._say("fault.ended", active.record, reason=reason)

    def _route(self, path: str) -> str:
        """The route that ``path`` is of, as metrics name it; "" for none."""
        routes = (route for provider in self._routes for route in provider())
        return next((route for route in routes if pattern(route).fullmatch(path)), "")

    def _place(self, record: Record) -> None:
        """Put what is active where requests and calls of ``record``'s edge pass; its gauge says how many."""
        if made_inside(record.fault):
            there = [active for active in self._active.values() if active.record.edge == record.edge]
            place = self._edges[record.edge] if record.edge else self.inbound
            place.active = tuple(active for active in there if isinstance(active, Active))
        same = (record.fault, record.on, record.edge)
        others = (active.record for active in self._active.values())
        self._gauges[same].set(sum((other.fault, other.on, other.edge) == same for other in others))

    def _say(self, event: str, record: Record, **more: object) -> None:
        logs.get("faults").warning(event, extra={"fault": record.words(), "fault_id": record.id, **more})

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except RedisError as error:
                logs.get("faults").warning("faults.redis_away", extra={"reason": str(error)})
                self._stopped.wait(RETRY_SECONDS)
            except Exception:  # noqa: BLE001 - a bug must be seen, and must not keep later faults from being cleared
                logs.get("faults").exception("faults.failed")
                self._stopped.wait(REREAD_SECONDS)

    def _listen(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe(CHANNEL)
            reread_at = 0.0
            while not self._stopped.is_set():
                message = pubsub.get_message(timeout=0.25)
                if message is not None or time.monotonic() >= reread_at:
                    self.refresh()
                    reread_at = time.monotonic() + REREAD_SECONDS

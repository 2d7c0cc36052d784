"""Faults inside services, from outside: asked for at a service's internal port, handed to all its processes by Redis.

The service itself refuses what does not fit it, and answers once its own processes have the fault in force; where it
runs as several instances, those are waited for here.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from costlab.service.fault_kinds import made_inside
from costlab.service.fault_store import FaultStore
from costlab.service.faults import BadFault, Record, Registry, Wish
from costlab.stack import Stack
from costlab.stack.control import ANSWER_SECONDS, Control, ControlError

IN_FORCE_SECONDS = 5.0
POLL_SECONDS = 0.02


class ServiceFaults:
    """The level "service" of chaos."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._registry = Registry.load()

    def apply(self, wish: Wish) -> Record:
        """Made by every instance of the service, or by the one that ``on`` names; else taken back."""
        urls = self._stack.internal_urls()
        first, *others = instances(wish.on, urls) or [""]
        if not first:
            raise BadFault(f"there is no service {wish.on!r}; there are: {', '.join(urls)}")
        granted = self._control().call("POST", "/faults", wish.document(), first)
        record = self._registry.record(granted["fault"])
        try:
            self._wait(others, granted["revision"])
        except BaseException:
            self._change(f"/faults/{record.id}")
            raise
        return record

    def remove(self, identity: str) -> bool:
        """Ended in every process."""
        if identity not in {record.id for record in self.active()}:
            return False
        self._change(f"/faults/{identity}")
        return True

    def clear(self) -> int:
        """Ended in every process of every service."""
        ended = len(self.active())
        self._change("/faults")
        return ended

    def active(self) -> list[Record]:
        """What the services say; for those that do not answer, what Redis has been told."""
        answers = self._ask_all()
        found = {each["id"]: each for answer in answers.values() for each in answer["faults"]}
        records = {name: self._registry.record(_without(each, "seconds_left")) for name, each in found.items()}
        if len(answers) < len(self._stack.internal_urls()):
            records = self._told() | records
        now = time.time()
        return [record for record in records.values() if record.left(now)]

    def _told(self) -> dict[str, Record]:
        """Faults by id as Redis has them; none where it is away too."""
        try:
            with Redis.from_url(self._stack.redis_url(), socket_timeout=ANSWER_SECONDS) as redis:
                held = FaultStore(redis, self._registry).read()
        except RedisError:
            return {}
        told = {} if held is None else held[1]
        return {name: record for name, record in told.items() if made_inside(record.fault)}

    def _change(self, path: str) -> None:
        """Asked of any service that answers; where all hang or are gone, Redis is told without them."""
        answering = self._ask_all()
        for service in answering:
            try:
                done = self._control().call("DELETE", path, service=service)
            except ControlError:
                continue
            return self._wait(list(answering), done["revision"])
        return self._clear_without_them(path.removeprefix("/faults").removeprefix("/"))

    def _clear_without_them(self, identity: str) -> None:
        try:
            with Redis.from_url(self._stack.redis_url(), socket_timeout=ANSWER_SECONDS) as redis:
                store = FaultStore(redis, self._registry)
                store.remove(identity) if identity else store.clear()
        except RedisError as error:
            raise ControlError(
                f"no service answers, nor does Redis ({error}): what is in force inside services ends at its time"
            ) from error

    def _wait(self, services: list[str], revision: int) -> None:
        """Return when every process of ``services`` has ``revision`` in force."""
        deadline = time.monotonic() + IN_FORCE_SECONDS
        while late := [name for name in services if self._ask(name).get("in_force", 0) < revision]:
            if time.monotonic() > deadline:
                raise ControlError(f"{', '.join(late)} did not follow within {IN_FORCE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def _ask_all(self) -> dict[str, dict[str, Any]]:
        """What each service says that answers."""
        services = list(self._stack.internal_urls())
        with ThreadPoolExecutor(len(services)) as pool:
            answers = dict(zip(services, pool.map(self._ask, services), strict=True))
        return {name: answer for name, answer in answers.items() if answer}

    def _ask(self, service: str) -> dict[str, Any]:
        try:
            return Control(self._stack.internal_urls(), "").call("GET", "/faults", service=service)
        except ControlError:
            return {}

    def _control(self) -> Control:
        return Control(self._stack.internal_urls(), self._stack.token())


def instances(name: str, urls: dict[str, str]) -> list[str]:
    """Whom ``name`` means: ``users`` all its instances, ``users-1`` the first, which is called users, ``users-2``..."""
    if name in urls:
        return [name, *(other for other in urls if _number(other, name))]
    service = name.removesuffix("-1")
    return [service] if name.endswith("-1") and service in urls else []


def _number(instance: str, service: str) -> str:
    """The number of an instance of ``service``; "" when it is none."""
    prefix, _, number = instance.rpartition("-")
    return number if prefix == service and number.isdecimal() else ""


def _without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}

"""The job: fulfil an order. Some CPU, some waiting, one database write.

CPU is pure Python, measured by the thread's own clock, so a job costs the same on a busy machine and holds the
interpreter lock as real work would. Waiting stands for a call to a carrier; it holds nothing.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.worker.settings import MAX_JOB_MS

KEY, PAYLOAD, TRACEPARENT = b"key", b"payload", b"traceparent"
MAX_ID = 2**63 - 1
MAX_KEY = 200


class Malformed(ValueError):
    """An entry that is no job, whoever looks at it and how often."""


class Line(BaseModel):
    """One product of the order."""

    model_config = ConfigDict(strict=True)

    product_id: int
    quantity: int = Field(ge=1, le=2**31 - 1)


class Payload(BaseModel):
    """The order, as orders publishes it. ``cpu_ms`` and ``wait_ms`` override the settings for one job."""

    model_config = ConfigDict(strict=True)

    id: int = Field(ge=1, le=MAX_ID)
    lines: list[Line]
    cpu_ms: float | None = Field(None, ge=0, le=MAX_JOB_MS)
    wait_ms: float | None = Field(None, ge=0, le=MAX_JOB_MS)


@dataclass(frozen=True)
class Job:
    """One order to fulfil; ``key`` names the job whatever happens to its entry."""

    key: str
    order: Payload
    traceparent: str

    def units(self) -> int:
        """Pieces to pick."""
        return sum(line.quantity for line in self.order.lines)


def parse(fields: Mapping[bytes, bytes]) -> Job:
    """The job in the fields of a stream entry; Malformed when there is none in it."""
    for name in (KEY, PAYLOAD):
        if not fields.get(name):
            raise Malformed(f"the entry has no field {name.decode()}")
    if len(fields[KEY]) > MAX_KEY:
        raise Malformed(f"the key is longer than {MAX_KEY} bytes")
    try:
        key = fields[KEY].decode()
        traceparent = fields.get(TRACEPARENT, b"").decode()
        order = Payload.model_validate_json(fields[PAYLOAD])
    except UnicodeDecodeError as error:
        raise Malformed("a field of the entry is not UTF-8") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "payload"
        raise Malformed(f"the payload is not an order: {where}: {first['msg']}") from error
    if "\0" in key:
        raise Malformed("the key has a NUL in it")
    return Job(key, order, traceparent)


class Work:
    """Does what a job asks for, apart from the write; milliseconds."""

    def __init__(self, cpu_ms: float, wait_ms: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._cpu_ms = cpu_ms
        self._wait_ms = wait_ms
        self._sleep = sleep

    def do(self, job: Job) -> None:
        """Spend the job's CPU and its waiting."""
        order = job.order
        burn(self._cpu_ms if order.cpu_ms is None else order.cpu_ms)
        self._sleep((self._wait_ms if order.wait_ms is None else order.wait_ms) / 1000)


def burn(milliseconds: float, clock: Callable[[], float] = time.thread_time) -> None:
    """Compute until this thread has used that much CPU."""
    end = clock() + milliseconds / 1000
    value = 1
    while clock() < end:
        for _ in range(100):
            value = value * 1103515245 + 12345 & 0x7FFFFFFF

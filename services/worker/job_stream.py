"""The job stream: a Redis stream read by a consumer group, where an entry stays until its work is done.

    XREADGROUP ──► pending, owned by one consumer ──┬─ done ──────────► XACK, XDEL
        ▲                                           ├─ owner silent ──► XAUTOCLAIM by another consumer
        │                                           └─ too often ─────► ``orders:dead``
      XADD (orders)

Example: a consumer is killed while it works on an entry. The entry is still pending under its name; ``claim_ms``
later another consumer claims it, and the entry's delivery count, which Redis keeps, is 2.

Trade-off: at least once. A consumer that is slow rather than dead is taken over too, and both finish; the effect is
made once by the job's key. Finished entries are deleted, so the stream's length is what is still to do; the last
generated id stays, by which the relay in orders sees whether Redis has lost data. Dead letters stay until somebody
has looked at them: nothing trims ``orders:dead``.
Use instead: a list with BLMOVE, when one consumer at a time is enough.

When Redis has lost the group, it is made again from the start of the stream: nothing that is there is skipped.
Units: milliseconds. Source: Redis documentation, "Redis Streams" (consumer groups, XAUTOCLAIM).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from redis import Redis
from redis.exceptions import ResponseError

STREAM = "orders:placed"
DEAD = "orders:dead"
GROUP = "worker"
BLOCK_MS = 500

Reply = TypeVar("Reply")


@dataclass(frozen=True)
class Delivery:
    """An entry handed to this consumer, for the ``count``-th time to any."""

    id: bytes
    fields: Mapping[bytes, bytes]
    count: int


class JobStream:
    """The stream as ``consumer`` sees it; a read waits ``block_ms``. Errors: RedisError when Redis is away."""

    def __init__(self, redis: Redis, consumer: str, block_ms: int = BLOCK_MS) -> None:
        self._redis = redis
        self._consumer = consumer
        self._block_ms = block_ms
        self._cursor: bytes | str = "0-0"
        self._bury = redis.register_script(_script("bury.lua"))
        self._remove = redis.register_script(_script("remove_consumers.lua"))

    def read(self) -> Delivery | None:
        """The next entry nobody has seen; None when none comes in time."""
        reply = self._grouped(
            lambda: self._redis.xreadgroup(GROUP, self._consumer, {STREAM: ">"}, count=1, block=self._block_ms)
        )
        if not reply:
            return None
        entries = reply[STREAM.encode()][0] if isinstance(reply, dict) else reply[0][1]
        entry_id, fields = entries[0]
        return Delivery(entry_id, fields, 1)

    def claim(self, idle_ms: int) -> Delivery | None:
        """An entry whose consumer has been silent for ``idle_ms``; None when there is none."""
        while reply := self._grouped(
            lambda: self._redis.xautoclaim(STREAM, GROUP, self._consumer, idle_ms, start_id=self._cursor, count=1)
        ):
            self._cursor, entries = reply[0], reply[1]
            if entries:
                entry_id, fields = entries[0]
                return Delivery(entry_id, fields, self._count(entry_id))
            if self._cursor == b"0-0":
                break
        return None

    def finish(self, delivery: Delivery) -> None:
        """The work is done: the entry can go."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(STREAM, GROUP, delivery.id)
            pipe.xdel(STREAM, delivery.id)
            pipe.execute()

    def postpone(self, delivery: Delivery) -> None:
        """Keep the entry, and do not count this delivery against it."""
        self._redis.xclaim(
            STREAM, GROUP, self._consumer, 0, [delivery.id], idle=0, retrycount=delivery.count - 1, justid=True
        )

    def bury(self, delivery: Delivery, reason: str) -> bool:
        """Move the entry to the dead letters, with all its fields; False when it is not pending any more."""
        letter = {
            **delivery.fields,
            b"reason": reason.encode(),
            b"entry": delivery.id,
            b"deliveries": str(delivery.count).encode(),
        }
        parts = [part for pair in letter.items() for part in pair]
        return bool(self._bury(keys=[STREAM, DEAD], args=[GROUP, delivery.id, *parts]))

    def leave(self) -> None:
        """Remove this consumer, unless it has entries that somebody must claim."""
        self._grouped(lambda: self._remove(keys=[STREAM], args=[GROUP, 0, self._consumer]))

    def remove_dead_consumers(self, silent_ms: int) -> int:
        """Remove consumers that are gone and have nothing pending; how many."""
        return self._grouped(lambda: self._remove(keys=[STREAM], args=[GROUP, silent_ms, ""])) or 0

    def backlog(self) -> int:
        """Entries still to do, in work or not yet delivered."""
        return self._redis.xlen(STREAM)

    def _count(self, entry_id: bytes) -> int:
        """How often the entry was delivered, as Redis counts; a count survives every crash of ours."""
        rows = self._redis.xpending_range(STREAM, GROUP, min=entry_id, max=entry_id, count=1)
        return rows[0]["times_delivered"] if rows else 1

    def _grouped(self, command: Callable[[], Reply]) -> Reply | None:
        """What ``command`` replies; None after making the group that was missing."""
        try:
            return command()
        except ResponseError as error:
            if "NOGROUP" not in str(error) and "no such key" not in str(error):
                raise
            self._make_group()
            return None

    def _make_group(self) -> None:
        try:
            self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):  # another consumer was faster
                raise


def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text()

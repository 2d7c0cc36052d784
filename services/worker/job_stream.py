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

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
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
    """The stream as ``consumer`` sees it; a read waits ``block_ms`` at most. Errors: RedisError when Redis is away."""

    def __init__(self, redis: Redis, consumer: str, block_ms: int = BLOCK_MS) -> None:
        self._redis = redis
        self._consumer = consumer
        self._block_ms = block_ms
        self._cursor: bytes | str = "0-0"
        self._bury = redis.register_script(_script("bury.lua"))
        self._remove = redis.register_script(_script("remove_consumers.lua"))

    def read(self, count: int = 1, block_ms: int | None = None) -> list[Delivery]:
        """Up to ``count`` entries nobody has seen; none when none comes in time. ``block_ms`` 0 does not wait."""
        wait = self._block_ms if block_ms is None else min(block_ms, self._block_ms)
        reply = self._grouped(
            lambda: self._redis.xreadgroup(GROUP, self._consumer, {STREAM: ">"}, count=count, block=wait or None)
        )
        if not reply:
            return []
        entries = reply[STREAM.encode()][0] if isinstance(reply, dict) else reply[0][1]
        return [Delivery(entry_id, fields, 1) for entry_id, fields in entries]

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

    def finish(self, deliveries: Sequence[Delivery]) -> None:
        """Their work is done: the entries can go."""
        ids = [delivery.id for delivery in deliveries]
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(STREAM, GROUP, *ids)
            pipe.xdel(STREAM, *ids)
            pipe.execute()

    def hold(self, deliveries: Sequence[Delivery]) -> None:
        """A sign of life: whoever claims silent entries leaves these alone for a while longer."""
        ids = [delivery.id for delivery in deliveries]
        self._grouped(lambda: self._redis.xclaim(STREAM, GROUP, self._consumer, 0, ids, idle=0, justid=True))

    def postpone(self, deliveries: Iterable[Delivery]) -> None:
        """Keep the entries, and do not count this delivery against them."""
        self._uncount(deliveries, 0)

    def release(self, deliveries: Iterable[Delivery], idle_ms: int) -> None:
        """Give the entries back, as if not delivered: whoever claims those silent for ``idle_ms`` gets them at once."""
        self._uncount(deliveries, idle_ms)

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

    def _uncount(self, deliveries: Iterable[Delivery], idle_ms: int) -> None:
        for count, alike in groupby(sorted(deliveries, key=_count_of), key=_count_of):
            ids = [delivery.id for delivery in alike]
            options = {"idle": idle_ms, "retrycount": count - 1, "justid": True}
            self._grouped(lambda: self._redis.xclaim(STREAM, GROUP, self._consumer, 0, ids, **options))  # noqa: B023 - called at once

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


def _count_of(delivery: Delivery) -> int:
    return delivery.count

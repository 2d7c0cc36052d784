"""A hash in Redis with a revision: set as a whole, announced to those who listen, read as a whole.

    set ──► HSET/HDEL, revision, PUBLISH in one script        listen ──► at each message: read it again

What the flags (flags.py) and the configuration documents (configuration.py) are kept in. Both names follow from
``key``: its revision lies under ``<key>:revision``, and the channel is called as the hash is.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from redis import Redis

LOOK_SECONDS = 0.25

# Both scripts run when Redis is out of memory too, for a flag may be what gives it more (the words after #!lua are
# those of Redis 7). MULTI would read as well, but then nothing can be queued.
READ = """#!lua flags=no-writes
return {redis.call('GET', KEYS[2]), redis.call('HGETALL', KEYS[1])}
"""
# One change is one revision, and revisions never repeat, even when Redis has lost its data: they are
# milliseconds of its clock, pushed up by one when two changes share a millisecond.
_SET = """#!lua flags=allow-oom
local time = redis.call('TIME')
local revision = time[1] * 1000 + math.floor(time[2] / 1000)
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if revision <= last then revision = last + 1 end
for i = 1, #ARGV, 2 do
    if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[i])
    else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
redis.call('SET', KEYS[2], string.format('%.0f', revision))
redis.call('PUBLISH', KEYS[1], string.format('%.0f', revision))
return string.format('%.0f', revision)
"""


def pairs(raw: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Fields and values of a hash as a script answers them: one after the other."""
    return zip(raw[::2], raw[1::2], strict=True)


class RevisionedHash:
    """The hash under ``key``. Everything here raises RedisError while Redis is away."""

    def __init__(self, redis: Redis, key: str) -> None:
        self._redis = redis
        self._key = key
        self._revision = f"{key}:revision"

    def read(self) -> tuple[int, dict[str, str]] | None:
        """Revision and fields; None when nothing was ever set (or Redis lost it)."""
        revision, raw = self._redis.eval(READ, 2, self._key, self._revision)
        if revision is None:
            return None
        return int(revision), {name.decode(): value.decode(errors="replace") for name, value in pairs(raw)}

    def set(self, changes: Mapping[str, str | None]) -> int:
        """Set all of ``changes`` at once (None: remove the field); the new revision. No value is empty."""
        arguments = [part for name, value in changes.items() for part in (name, value or "")]
        return int(self._redis.eval(_SET, 2, self._key, self._revision, *arguments))

    def listen(self, refresh: Callable[[], None], ended: Callable[[], bool], reread_seconds: float = math.inf) -> None:
        """Call ``refresh`` once subscribed, at each change and every ``reread_seconds``, until ``ended``."""
        with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe(self._key)
            reread_at = 0.0
            while not ended():
                message = pubsub.get_message(timeout=LOOK_SECONDS)
                if message is not None or time.monotonic() >= reread_at:
                    refresh()
                    reread_at = time.monotonic() + reread_seconds

"""The faults of all services as Redis holds them: what the internal ports write and every process follows.

A record says until when it is in force, and the hash expires with the last of its records: who starts later finds
nothing old. Revisions are made as those of flags are (costlab/service/flags.py).
"""

from collections.abc import Mapping

import orjson
from redis import Redis

from costlab.service import logs
from costlab.service.faults import Record, Registry
from costlab.service.revisioned_hash import READ, pairs

RECORDS = "costlab:faults"
REVISION = "costlab:faults:revision"
CHANNEL = "costlab:faults"

# It runs when Redis is out of memory too: that is no time for a fault to stay.
# ARGV: what to do (add, remove, clear), id, record, milliseconds it lasts.
_CHANGE = """#!lua flags=allow-oom
local time = redis.call('TIME')
local revision = time[1] * 1000 + math.floor(time[2] / 1000)
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if revision <= last then revision = last + 1 end
local changed = 1
if ARGV[1] == 'add' then
    local ends = redis.call('PTTL', KEYS[1])
    redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
    redis.call('PEXPIRE', KEYS[1], math.max(ends, ARGV[4]))
elseif ARGV[1] == 'remove' then
    changed = redis.call('HDEL', KEYS[1], ARGV[2])
else
    changed = redis.call('HLEN', KEYS[1])
    redis.call('DEL', KEYS[1])
end
redis.call('SET', KEYS[2], string.format('%.0f', revision))
redis.call('PUBLISH', KEYS[3], string.format('%.0f', revision))
return {string.format('%.0f', revision), changed}
"""


class FaultStore:
    """Faults in force, by id."""

    def __init__(self, redis: Redis, registry: Registry) -> None:
        self._redis = redis
        self._registry = registry

    def read(self) -> tuple[int, dict[str, Record]] | None:
        """Revision and records, those included whose time is over; None when there were none (or Redis lost them)."""
        revision, raw = self._redis.eval(READ, 2, RECORDS, REVISION)
        return None if revision is None else (int(revision), self._known(dict(pairs(raw))))

    def add(self, record: Record) -> int:
        """Hand ``record`` to everybody; the new revision."""
        milliseconds = int((record.until - record.since) * 1000)
        return self._change("add", record.id, orjson.dumps(record.document()), milliseconds)[0]

    def remove(self, identity: str) -> tuple[int, int]:
        """Take one away; the new revision, and 1 if it was there, else 0."""
        return self._change("remove", identity)

    def clear(self) -> tuple[int, int]:
        """Take all away; the new revision, and how many there were."""
        return self._change("clear")

    def _change(self, *arguments: str | bytes | int) -> tuple[int, int]:
        revision, changed = self._redis.eval(_CHANGE, 3, RECORDS, REVISION, CHANNEL, *arguments)
        return int(revision), changed

    def _known(self, raw: Mapping[bytes, bytes]) -> dict[str, Record]:
        """Records this code knows; a newer or older one may have left others in Redis, which are logged, not used."""
        known: dict[str, Record] = {}
        for identity, document in raw.items():
            try:
                known[identity.decode()] = self._registry.record(orjson.loads(document))
            except ValueError as error:
                logs.get("faults").warning("fault.ignored", extra={"reason": str(error)})
        return known

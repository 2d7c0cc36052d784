"""The cache in Redis: one key per answer, one generation per path that all its answers must carry, and leases.

    cache:generation:/users/7/orders            8 random bytes
    cache:entry:/users/7/orders?limit=5         an answer, with the generation it was asked for under
    cache:entry:/users/7/orders?limit=20        another one
    cache:lease:/users/7/orders?limit=20        8 random bytes: somebody is asking the origin for that one

Example: deleting the generation of a path drops all answers under it at once, however many queries there are: they
carry a generation that is not there any more. It also settles the race between a fill and a change. A fill takes the
generation *before* it asks the origin; if the change comes in between, the answer is stored under a generation that
is gone and is never served. The same holds when Redis evicts the generation or loses its data: it fails to a miss.

Trade-off: a second, small key per path, and dropped answers stay in memory until their expiry. A hit is one MGET.
Use instead: one hash per path, where Redis can expire fields (HEXPIRE, 7.4).

Redis away: every call raises CacheAway, at once for RETRY_SECONDS after a failure, so that an outage costs one call a
second its time limit and all the others nothing.

Units: seconds. Source: memcached wiki, "Namespacing"; Nishtala et al., Scaling Memcache at Facebook (NSDI'13), leases.
"""

import secrets
from importlib.resources import files

import hiredis
from redis.connection import AbstractConnection
from redis.exceptions import RedisError

from costlab.resilience.circuit_breaker import CircuitBreaker, CircuitOpen
from costlab.service import redis_client
from costlab.service.connection_pool import ConnectionPool, PoolTimeout
from costlab.service.fault_edges import NO_EDGE, Edge
from costlab.service.tracing import SpanKind, Tracing
from services.cache_proxy.entry import GENERATION_BYTES, Entry, pack, unpack

GENERATION = "cache:generation:"
ENTRY = "cache:entry:"
LEASE = "cache:lease:"
TOKEN_BYTES = 8
ANSWER_SECONDS = 0.25
RETRY_SECONDS = 1.0
POOL_SIZE = 64
# A generation outlives any call to an origin, or the answer would have nothing to be stored under.
GENERATION_MILLISECONDS = 60_000

_RELEASE = files("services.cache_proxy").joinpath("release_lease.lua").read_text()


class CacheAway(Exception):
    """Redis cannot be asked now."""


class CacheStore:
    """Stored answers in the Redis at ``redis_url``, behind the faults of ``edge``.

    Commands go over redis-py's connections but not through its client: a hit costs half the CPU that way
    (docs/decisions.md).
    """

    def __init__(self, redis_url: str, tracing: Tracing, edge: Edge = NO_EDGE) -> None:
        self._tracing = tracing
        self._connections = redis_client.connect(redis_url, ANSWER_SECONDS, edge).connection_pool
        self._pool = ConnectionPool("redis", self._connect, AbstractConnection.disconnect, lambda: POOL_SIZE)
        self._breaker = CircuitBreaker("redis", failures=1, open_seconds=RETRY_SECONDS)

    def look_up(self, path: str, target: str) -> tuple[bytes | None, Entry | None]:
        """The generation of ``path``, and the answer stored for ``target`` if it carries that generation."""
        generation, raw = self._call(("MGET", GENERATION + path, ENTRY + target))[0]
        return generation, _valid(generation, raw)

    def begin(self, path: str) -> bytes:
        """The generation of ``path``, a new one if it has none."""
        new = secrets.token_bytes(GENERATION_BYTES)
        command = ("SET", GENERATION + path, new, "NX", "GET", "PX", str(GENERATION_MILLISECONDS))
        return self._call(command)[0] or new

    def put(self, path: str, target: str, entry: Entry, keep: float) -> None:
        """Keep ``entry`` for ``keep`` seconds, and the generation of its path at least as long."""
        milliseconds = max(1, int(keep * 1000))
        longer = str(max(milliseconds, GENERATION_MILLISECONDS))
        self._call(
            ("SET", ENTRY + target, pack(entry), "PX", str(milliseconds)),
            ("PEXPIRE", GENERATION + path, longer, "GT"),
        )

    def lease(self, path: str, target: str, seconds: float) -> tuple[bytes | None, bytes | None, Entry | None]:
        """Take the lease on ``target`` for ``seconds``: its token, None when somebody else holds it; then look up."""
        token = secrets.token_bytes(TOKEN_BYTES)
        taken, (generation, raw) = self._call(
            ("SET", LEASE + target, token, "NX", "PX", str(int(seconds * 1000))),
            ("MGET", GENERATION + path, ENTRY + target),
        )
        return token if taken else None, generation, _valid(generation, raw)

    def release(self, target: str, token: bytes) -> None:
        """Give the lease back; one that has expired stays whose it is."""
        self._call(("EVAL", _RELEASE, "1", LEASE + target, token))

    def close(self) -> None:
        """Close every idle connection."""
        self._pool.clear()

    def _call(self, *commands: tuple[str | bytes, ...]) -> list:
        """The replies to ``commands``, sent together."""
        message = b"".join(map(hiredis.pack_command, commands))
        try:
            with (
                self._tracing.child(f"redis {commands[0][0]}", SpanKind.CLIENT, redis_client.SYSTEM),
                self._breaker.guard(),
                self._pool.lend(ANSWER_SECONDS) as (connection, _),
            ):
                connection.send_packed_command([message], check_health=False)
                return [connection.read_response() for _ in commands]
        except CircuitOpen as error:
            raise CacheAway("redis failed a moment ago") from error
        except (RedisError, PoolTimeout) as error:
            self._pool.clear()
            raise CacheAway(str(error)) from error

    def _connect(self) -> AbstractConnection:
        # Not by the client's own pool, which counts what it made and in the end, after 100 outages, makes no more.
        connection = self._connections.connection_class(**self._connections.connection_kwargs)
        connection.connect()
        return connection


def _valid(generation: bytes | None, raw: bytes | None) -> Entry | None:
    """The entry in ``raw`` if it is one and carries the generation of its path."""
    if generation is None or raw is None:
        return None
    entry = unpack(raw)
    return entry if entry is not None and entry.generation == generation else None

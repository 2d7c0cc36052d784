"""The rate limiter at the gateway's edge: the flags say whether and how much, Redis holds every client's state.

A request costs one round trip, made over a raw connection: redis-py's client costs as much again as the trip.
When Redis is away the limiter fails open: requests pass unlimited, counted as such. One request then pays the
timeout; for the next second nobody asks Redis, and after it one request tries again.
"""

import hashlib
import time
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from costlab.service import logs, metrics
from costlab.service.connection_pool import ConnectionPool, PoolTimeout
from costlab.service.flags import Flags
from gateway.rate_limit.gcra import Decision, Quota

CONNECT_SECONDS = 0.1
ANSWER_SECONDS = 0.1
PAUSE_SECONDS = 1.0
POOL_SIZE = 64
KEY = "costlab:rate_limit:{client}"

_SCRIPT = files("gateway.rate_limit").joinpath("gcra.lua").read_text()
_SHA = hashlib.sha1(_SCRIPT.encode()).hexdigest()  # noqa: S324 - the name Redis gives a script


class Limited(NamedTuple):
    """What was decided on a request, under which quota."""

    quota: Quota
    decision: Decision

    def headers(self) -> list[tuple[str, str]]:
        """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers), and Retry-After when refused.

        The policy promises what GCRA guarantees from rest: ``burst`` requests in the time a full burst takes to
        come back, in whole seconds.
        """
        quota, decision = self
        window = seconds(quota.burst * quota.interval)
        written = [
            ("RateLimit-Policy", f'"gcra";q={quota.burst};w={window}'),
            ("RateLimit", f'"gcra";r={decision.remaining};t={seconds(decision.full_after)}'),
        ]
        if not decision.admitted:
            written.append(("Retry-After", str(seconds(decision.retry_after))))
        return written


class RateLimiter:
    """Decides on requests per client, by the flags ``gateway.rate_limit``, ``..._rate`` and ``..._burst``."""

    def __init__(self, redis: Redis, flags: Flags, clock: Callable[[], float] = time.monotonic) -> None:
        self._flags = flags
        self._clock = clock
        self._class = redis.connection_pool.connection_class
        self._options = redis.connection_pool.connection_kwargs | {
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        self._pool = ConnectionPool("redis", self._open, _close, lambda: POOL_SIZE)
        self._ask_again_at = 0.0
        outcomes = metrics.Children(metrics.RATE_LIMIT_DECISIONS)
        self._admitted, self._refused = outcomes["admitted",], outcomes["refused",]
        self._unlimited = outcomes["unlimited",]

    def decide(self, client: str) -> Limited | None:
        """The decision on one request of ``client``; None when it is not limited: flag off, or Redis away."""
        if self._flags["gateway.rate_limit"] == "off":
            return None
        quota = Quota(self._flags["gateway.rate_limit_rate"], self._flags["gateway.rate_limit_burst"])
        decision = self._ask(client, quota)
        if decision is None:
            self._unlimited.inc()
            return None
        (self._admitted if decision.admitted else self._refused).inc()
        return Limited(quota, decision)

    def close(self) -> None:
        """Close every idle connection."""
        self._pool.clear()

    def _ask(self, client: str, quota: Quota) -> Decision | None:
        if self._ask_again_at:
            now = self._clock()
            if now < self._ask_again_at:
                return None
            self._ask_again_at = now + PAUSE_SECONDS  # the others go on without asking while this one tries
        try:
            decision = self._call(client, quota)
        except (RedisError, PoolTimeout) as error:
            self._ask_again_at = self._clock() + PAUSE_SECONDS
            self._pool.clear()
            logs.get("rate_limit").warning("rate_limit.redis_away", extra={"reason": str(error)})
            return None
        self._ask_again_at = 0.0
        return decision

    def _call(self, client: str, quota: Quota) -> Decision:
        command = _packed(KEY.format(client=client), quota.interval, quota.burst)
        try:
            with self._pool.lend(ANSWER_SECONDS) as (connection, _):
                return _evaluate(connection, command)
        except RedisConnectionError:
            # Idle connections do not survive a restart of Redis. A new one tells whether it is away.
            self._pool.clear()
            with self._pool.lend(ANSWER_SECONDS) as (connection, _):
                return _evaluate(connection, command)

    def _open(self) -> AbstractConnection:
        connection = self._class(**self._options)
        connection.connect()
        return connection


def seconds(microseconds: int) -> int:
    """Whole seconds, rounded up."""
    return -(-microseconds // 1_000_000)


@lru_cache(maxsize=1024)
def _packed(key: str, interval: int, burst: int) -> tuple[bytes, bytes]:
    """The script's call by name, and in full for a Redis that does not know it. Clients and quotas are few."""
    arguments = (1, key, interval, burst, "")
    return _resp("EVALSHA", _SHA, *arguments), _resp("EVAL", _SCRIPT, *arguments)


def _resp(*parts: str | int) -> bytes:
    """A command in the Redis protocol."""
    texts = [str(part).encode() for part in parts]
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in texts)


def _evaluate(connection: AbstractConnection, command: tuple[bytes, bytes]) -> Decision:
    by_name, in_full = command
    connection.send_packed_command([by_name], check_health=False)
    try:
        answer = connection.read_response()
    except NoScriptError:
        connection.send_packed_command([in_full], check_health=False)
        answer = connection.read_response()
    admitted, remaining, retry_after, full_after = answer
    return Decision(admitted == 1, remaining, retry_after, full_after)


def _close(connection: AbstractConnection) -> None:
    connection.disconnect()

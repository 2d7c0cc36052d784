"""The rate limiter at the gateway's edge: the flags say how, whom and how much, Redis holds every client's state.

A request costs one round trip, made over a raw connection: redis-py's client costs as much again as the trip.
Each algorithm is one Lua script, its arithmetic told in the Python file of the same name. Another algorithm or
another quota is another key, so what was counted under one is never read by the other: a change begins afresh.

When Redis is away the limiter fails open (requests pass unlimited) or closed (503), as its flag says, and counts
them. One request then pays the timeout; for the next second nobody asks Redis, and after it one request tries again.
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

from costlab.service import logs, metrics, problem
from costlab.service.connection_pool import ConnectionPool, PoolTimeout
from costlab.service.flags import Flags
from gateway.rate_limit.quota import Decision, Quota

CONNECT_SECONDS = 0.1
ANSWER_SECONDS = 0.1
PAUSE_SECONDS = 1.0
POOL_SIZE = 64
KEY = "costlab:rate_limit:{algorithm}:{interval}:{burst}:{client}"
ALGORITHMS = ("fixed_window", "sliding_window", "sliding_log", "token_bucket", "gcra")

SCRIPTS = {name: files("gateway.rate_limit").joinpath(f"{name}.lua").read_text() for name in ALGORITHMS}
_SHA = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in SCRIPTS.items()}  # noqa: S324 - Redis's name


class Limited(NamedTuple):
    """What was decided on a request, by which algorithm, under which quota."""

    algorithm: str
    quota: Quota
    decision: Decision

    def headers(self) -> list[tuple[str, str]]:
        """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers), and Retry-After when refused.

        The draft counts windows in whole seconds, so the policy is what the rate allows in the window rounded up to
        them: rate 100, burst 50 is a window of 0.5 s and reads q=100;w=1, rate 10, burst 50 reads q=50;w=5. How many
        may come at once is ``r``; ``t`` counts down to the moment at which the full burst is there again.
        """
        name, quota, decision = self
        window = seconds(quota.window)
        written = [
            ("RateLimit-Policy", f'"{name}";q={window * 1_000_000 // quota.interval};w={window}'),
            ("RateLimit", f'"{name}";r={decision.remaining};t={seconds(decision.full_after)}'),
        ]
        if not decision.admitted:
            written.append(("Retry-After", str(seconds(decision.retry_after))))
        return written


class RateLimiter:
    """Decides on requests, by the flags ``gateway.rate_limit`` and ``gateway.rate_limit_*``."""

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
        self._unlimited, self._unavailable = outcomes["unlimited",], outcomes["unavailable",]

    def decide(self, client: str, route: str) -> Limited | None:
        """The decision on one request of ``client`` for ``route``. None when it is not limited: the flag is off, or
        Redis is away and the limiter open; Unavailable when it is closed."""
        algorithm = self._flags["gateway.rate_limit"]
        if algorithm == "off":
            return None
        quota = Quota(self._flags["gateway.rate_limit_rate"], self._flags["gateway.rate_limit_burst"])
        if self._flags["gateway.rate_limit_key"] == "client_route":
            client = f"{client}:{route}"
        decision = self._ask(_packed(algorithm, quota, client))
        if decision is None:
            self._without_redis()
            return None
        (self._admitted if decision.admitted else self._refused).inc()
        return Limited(algorithm, quota, decision)

    def close(self) -> None:
        """Close every idle connection."""
        self._pool.clear()

    def _without_redis(self) -> None:
        if self._flags["gateway.rate_limit_redis_away"] == "open":
            self._unlimited.inc()
            return
        self._unavailable.inc()
        raise problem.Unavailable(
            "The gateway cannot check how many requests this client has made; it lets none pass until it can.",
            headers={"Retry-After": f"{PAUSE_SECONDS:.0f}"},
        )

    def _ask(self, command: tuple[bytes, bytes]) -> Decision | None:
        if self._ask_again_at:
            now = self._clock()
            if now < self._ask_again_at:
                return None
            self._ask_again_at = now + PAUSE_SECONDS  # the others go on without asking while this one tries
        try:
            decision = self._call(command)
        except (RedisError, PoolTimeout) as error:
            self._ask_again_at = self._clock() + PAUSE_SECONDS
            self._pool.clear()
            logs.get("rate_limit").warning("rate_limit.redis_away", extra={"reason": str(error)})
            return None
        self._ask_again_at = 0.0
        return decision

    def _call(self, command: tuple[bytes, bytes]) -> Decision:
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
def _packed(algorithm: str, quota: Quota, client: str) -> tuple[bytes, bytes]:
    """The script's call by name, and in full for a Redis that does not know it. Clients and quotas are few."""
    interval, burst = quota.interval, quota.burst
    key = KEY.format(algorithm=algorithm, interval=interval, burst=burst, client=client)
    arguments = (1, key, interval, burst, "")
    return _resp("EVALSHA", _SHA[algorithm], *arguments), _resp("EVAL", SCRIPTS[algorithm], *arguments)


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

"""Best effort: what a request tells Redis on its way, and can be answered without.

A command waits for half of the time its request has left, so that the request can still be answered, and for 50 ms at
least: a Redis that is well answers in one, and what is committed should be told also by whoever is late. After a
time-out nobody asks for a second, and then one tries. A Redis that refuses costs no time and is asked every time.

Example: Redis hangs for 10 s, the client waits 0.5 s, 50 orders come in a second. 10 of them wait 0.5 s, 490 do not
wait; without the pause all 500 would, and hold 25 threads.

Trade-off: one slow answer loses everything that is to be told in the following second.
Use instead: an outbox, for what must be told in the end.

Units: seconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from costlab.resilience.circuit_breaker import CircuitBreaker, CircuitOpen
from costlab.service import context, redis_client

PAUSE_SECONDS = 1.0
LEAST_SECONDS = 0.05


class BestEffort:
    """Lends ``redis``, a client that nobody else uses, for a command, unless it has timed out a moment ago."""

    def __init__(self, redis: Redis) -> None:
        redis_client.mix_in(redis, _InTime)
        self._redis = redis
        self._breaker = CircuitBreaker(
            "redis", failures=1, open_seconds=PAUSE_SECONDS, ignore=(RedisConnectionError, ResponseError)
        )

    @contextmanager
    def asked(self) -> Iterator[Redis]:
        """The client, for one command in the block; RedisError also when it must not be asked now."""
        # A request with next to no time left says nothing about Redis when it is not answered.
        fair = patience(PAUSE_SECONDS, context.remaining()) > LEAST_SECONDS
        try:
            with self._breaker.guard(fair):
                yield self._redis
        except CircuitOpen as error:
            raise RedisConnectionError("it timed out a moment ago and is not asked for now") from error


class _InTime(AbstractConnection):
    """Mixed into a kind of connection: its commands wait no longer than the request they are sent for allows."""

    def send_packed_command(self, command, check_health: bool = True) -> None:
        if self._sock is not None:
            self._sock.settimeout(self.patience())
        super().send_packed_command(command, check_health)

    def patience(self) -> float:
        """Seconds a command waits for its answer."""
        return patience(self.socket_timeout or redis_client.ANSWER_SECONDS, context.remaining())


def patience(longest: float, left: float | None) -> float:
    """Seconds to wait, ``longest`` at most, for a request that has so much time ``left``; None: it has no deadline."""
    return longest if left is None else min(longest, max(LEAST_SECONDS, left / 2))

"""Redis for a service: short timeouts, one reconnect, no silent retries that add up behind the caller's back.

What timed out is not sent again: it would take as long once more, and a Redis that only hung would do it twice.
"""

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from costlab.service.fault_edges import NO_EDGE, Edge
from costlab.service.fault_kinds.effects import Answer, Break
from costlab.service.tracing import SpanKind, Tracing

SYSTEM = {"db.system.name": "redis"}
CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 1.0


class _Faulty(AbstractConnection):
    """Mixed into a kind of connection: commands pass the faults of ``edge`` before they are sent."""

    edge: Edge
    _greeting = False

    def on_connect_check_health(self, check_health: bool = True) -> None:
        # What a new connection says by itself is not a command of ours.
        self._greeting = True
        try:
            super().on_connect_check_health(check_health)
        finally:
            self._greeting = False

    def send_packed_command(self, command, check_health: bool = True) -> None:
        if self.edge.active and not self._greeting:
            self._meet()
        super().send_packed_command(command, check_health)

    def _meet(self) -> None:
        try:
            effect = self.edge.meet(self.patience())
        except TimeoutError as error:
            self.disconnect()
            raise RedisTimeoutError("Timeout reading from socket") from error
        if isinstance(effect, Break):
            self.disconnect()
            raise RedisConnectionError("Connection reset by peer")
        if isinstance(effect, Answer):
            raise ResponseError("ERR injected fault")

    def patience(self) -> float:
        """Seconds a command waits for its answer."""
        return self.socket_timeout or ANSWER_SECONDS


class _Traced(Redis):
    """Each command that a request sends is a span of it; what is sent in pipelines is not."""

    tracing: Tracing

    def execute_command(self, *args, **options):
        with self.tracing.child(f"redis {args[0]}", SpanKind.CLIENT, SYSTEM):
            return super().execute_command(*args, **options)


def connect(
    url: str, answer_seconds: float = ANSWER_SECONDS, edge: Edge = NO_EDGE, tracing: Tracing | None = None
) -> Redis:
    """A thread-safe client with a connection pool; it connects when first used.

    ``answer_seconds`` must be longer than any blocking read made through the client. Commands meet the faults of
    ``edge``, if one is given, and are told to ``tracing``.
    """
    kind = Redis if tracing is None else type("TracedRedis", (_Traced,), {"tracing": tracing})
    client = kind.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        retry=Retry(NoBackoff(), 1, (RedisConnectionError,)),
    )
    if edge is not NO_EDGE:
        mix_in(client, _Faulty, edge=edge)
    return client


def mix_in(client: Redis, kind: type[AbstractConnection], **attributes: object) -> None:
    """Let the connections that ``client`` makes from now on be of this ``kind`` too."""
    pool = client.connection_pool
    plain = pool.connection_class
    pool.connection_class = type(f"{kind.__name__}{plain.__name__}", (kind, plain), attributes)

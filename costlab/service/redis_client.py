"""Redis for a service: short timeouts, one reconnect, no silent retries that add up behind the caller's back."""

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 1.0


def connect(url: str, answer_seconds: float = ANSWER_SECONDS) -> Redis:
    """A thread-safe client with a connection pool; it connects when first used.

    ``answer_seconds`` must be longer than any blocking read made through the client.
    """
    return Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        retry=Retry(NoBackoff(), 1),
    )

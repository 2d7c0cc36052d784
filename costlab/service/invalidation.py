"""Invalidation: tell the cache which answers have changed, once the change is committed.

    invalidation.publish("/orders/stats", "/users/7/orders")

Best effort (best_effort.py): a message that is lost costs staleness until the answer's time to live is over, never an
error to the client whose change is already safe. After one that timed out Redis is left alone for a second, and what
changes in that second stays stale unheard. So a Redis that hangs costs one change a second at most 0.2 s.
Use instead: a short time to live alone, when nobody minds an answer that old.

Message: a JSON array of paths without query on channel ``cache:invalidate``; each stands for all queries of its path.
"""

import orjson
from redis.exceptions import RedisError

from costlab.service import logs, redis_client
from costlab.service.best_effort import BestEffort
from costlab.service.fault_edges import NO_EDGE, Edge
from costlab.service.tracing import Tracing

CHANNEL = "cache:invalidate"
ANSWER_SECONDS = 0.2


class Invalidation:
    """Publishes changed paths through the Redis at ``redis_url``, behind the faults of ``edge``."""

    def __init__(self, redis_url: str, edge: Edge = NO_EDGE, tracing: Tracing | None = None) -> None:
        self._redis = BestEffort(redis_client.connect(redis_url, ANSWER_SECONDS, edge, tracing))

    def publish(self, *paths: str) -> None:
        """Say that the answers at ``paths`` have changed; a failure is logged."""
        try:
            with self._redis.asked() as redis:
                redis.publish(CHANNEL, orjson.dumps(paths))
        except RedisError as error:
            logs.get("invalidation").warning("invalidation.lost", extra={"paths": paths, "reason": str(error)})

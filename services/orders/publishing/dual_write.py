"""Dual write: the request commits the order to PostgreSQL, then adds its message to the stream itself.

    POST /orders ──► transaction: order, lines ──► (killed here: never processed) ──► XADD ──► 201

Example: of 1,000 orders placed while the process is killed once in the middle, the one between its commit and its XADD
is stored, perhaps answered 201 to a retry under its key, and never processed. Redis away for 10 s at 50 orders a second
is 500 more.

Trade-off: one statement less and no relay, for messages that may be missing for ever. Written in the other order it
would tell of orders that were rolled back instead.
Use instead: ``outbox``.

When Redis does not take the message the order is answered 201 all the same, because it is placed; the loss is logged
and counted in ``costlab_dual_writes_total{outcome="lost"}``. After a time-out Redis is left alone for a second, and the
messages of all orders placed in that second are lost without being sent: a Redis that hangs costs one order a second
time, and one that tarried once costs a second of messages. What timed out a Redis that only hung may yet take.
Units: messages.
Source: Kleppmann, "Designing Data-Intensive Applications" (2017), chapter 11; Richardson, "Transactional outbox".
"""

from psycopg2.extensions import cursor
from redis import Redis
from redis.exceptions import RedisError

from costlab.service import logs, metrics
from costlab.service.best_effort import BestEffort
from costlab.service.tracing import SpanKind, Tracing, render
from services.orders.publishing.message import SENDING, STREAM, Message

# What an order may wait for a Redis that hangs, unless its deadline is nearer (best_effort.py).
ANSWER_SECONDS = 0.5


class DualWrite:
    """Adds messages to the stream from the request."""

    def __init__(self, redis: Redis, tracing: Tracing) -> None:
        self._redis = BestEffort(redis)
        self._tracing = tracing

    def within(self, statements: cursor, message: Message) -> None:
        """Nothing: the transaction knows of no message."""

    def afterwards(self, message: Message) -> None:
        """Add the message to the stream; when that fails it is lost."""
        try:
            with self._tracing.child(SENDING, SpanKind.PRODUCER) as span, self._redis.asked() as redis:
                sent = message if span is None else message._replace(traceparent=render(span.get_span_context()))
                redis.xadd(STREAM, sent._asdict())
        except RedisError as error:
            metrics.DUAL_WRITES.labels("lost").inc()
            logs.get("dual-write").warning("message.lost", extra={"key": message.key, "reason": str(error)})
        else:
            metrics.DUAL_WRITES.labels("published").inc()

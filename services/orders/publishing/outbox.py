"""Transactional outbox, the half inside the request: the message is a row of the transaction that writes the order.

    POST /orders ──► one transaction: order, lines, outbox row, NOTIFY ──► relay (services/orders/relay.py) ──► stream

Example: the process is killed right after the commit. The row is there, the next relay publishes it: no order that was
answered 201 is left unprocessed.

Trade-off: one more row written and one more marked for each order, and the message leaves a moment after the answer.
Use instead: ``dual_write``, where a lost message is no loss.

Units: messages. Source: Richardson, "Transactional outbox" (microservices.io).
"""

from psycopg2.extensions import cursor

from services.orders.publishing.message import Message

# The notification leaves with the commit, and wakes the relay.
_ADD = """
with message as (insert into outbox (key, payload, traceparent) values (%s, %s, %s))
select pg_notify('outbox', '')"""


class Outbox:
    """Leaves the message to the relay."""

    def within(self, statements: cursor, message: Message) -> None:
        """Write the message beside the order."""
        statements.execute(_ADD, message)

    def afterwards(self, message: Message) -> None:
        """Nothing: what is committed will be published."""

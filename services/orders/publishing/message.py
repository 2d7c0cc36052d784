"""A message to the job stream, and what a way to publish it must do."""

from typing import NamedTuple, Protocol

from psycopg2.extensions import cursor

STREAM = "orders:placed"
# The name of the span of one message on its way.
SENDING = f"send {STREAM}"


class Message(NamedTuple):
    """What is told about an order: ``key`` names it for ever, ``payload`` is JSON, ``traceparent`` the request's."""

    key: str
    payload: str
    traceparent: str


class Publication(Protocol):
    """One way to publish. Both halves of one order are those of one way, also when the flag changes in between."""

    def within(self, statements: cursor, message: Message) -> None:
        """In the transaction that writes the order."""

    def afterwards(self, message: Message) -> None:
        """Once that is committed."""

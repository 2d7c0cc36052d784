"""How a placed order becomes a message on the job stream (flag ``orders.publish``), one file per way."""

from redis import Redis

from costlab.service.flags import Flags
from costlab.service.tracing import Tracing
from services.orders.publishing.dual_write import DualWrite
from services.orders.publishing.message import Publication
from services.orders.publishing.outbox import Outbox


class Publishing:
    """The way the flag names at the time."""

    def __init__(self, flags: Flags, redis: Redis, tracing: Tracing) -> None:
        self._flags = flags
        self._ways: dict[str, Publication] = {"dual_write": DualWrite(redis, tracing), "outbox": Outbox()}

    def way(self) -> Publication:
        """The way for the order at hand."""
        return self._ways[self._flags["orders.publish"]]

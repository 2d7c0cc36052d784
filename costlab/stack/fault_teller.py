"""Faults made outside the services are told to the gateway, whose metrics, logs and spans show them then.

Told before they are made, as they may cut off whoever would have to hear of it: Redis, through which every process of
the gateway learns of it. Each drops it at its time by its own clock. It is for looking only: what cannot be told, as
the gateway is away, is made and ended all the same.
"""

from contextlib import suppress

from costlab.service.faults import Record
from costlab.stack import Stack
from costlab.stack.control import Control, ControlError


class FaultTeller:
    """Tells the gateway of ``stack``."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def begins(self, record: Record) -> None:
        """It will be in force in a moment."""
        self._tell("POST", "/faults/outside", record.document())

    def over(self, identity: str) -> None:
        """It has ended before its time."""
        self._tell("DELETE", f"/faults/{identity}")

    def _tell(self, method: str, path: str, document: object = None) -> None:
        urls = self._stack.internal_urls()
        with suppress(ControlError):
            if "gateway" in urls:
                Control(urls, self._stack.token()).call(method, path, document, "gateway")

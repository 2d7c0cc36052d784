"""Hang: no answer until the fault ends. Whoever waits without a timeout waits as long.

Example: 8 threads, each of which calls an upstream that hangs, with a timeout of 5 s: after 8 requests the service is
full, and it answers 8 / 5 = 1.6 requests per second, all of them with an error. Without a timeout it answers none.

Trade-off: the worst failure there is, because it is not noticed; it also holds the threads of the service it is put on,
readiness and metrics of that process included. It ends with the fault, then what was held is done after all.
Use instead: ``errors`` to see what a failure costs that can be seen at once.

Units: none. Source: Nygard, "Release It!", blocked threads.
"""

from random import Random

from costlab.service.fault_kinds.effects import FOR_EVER, Wait


class Hang:
    """Waits for the end of the fault."""

    def effect(self, random: Random) -> Wait:
        """Always the same."""
        return FOR_EVER

"""Poison tenant: the requests of one client break what serves them; everybody else's are as good as ever.

Example: one of 100 clients sends requests that hang for 10 s. Two instances with 8 threads each hold 16 requests, so
after 16 of that client's, nobody is served. With a crash in place of the answer, and a client that asks again, one
process after the other dies. A shard of the instances for each client (``gateway.balancer = shuffle_shard``) leaves
most of the others alone.

Trade-off: whose request it is, the gateway says (the header X-Client), so it meets what the gateway calls, and nothing
behind that: those services are not told.
Use instead: ``stall`` for requests that hang whoever sent them, ``kill`` for a process that dies once.

Units: milliseconds that a request is held, then what comes of it: it is served (``answer``), its connection ends
(``reset``) or the process that has it gets SIGKILL (``crash``).
Source: MacCarthaigh, "Workload isolation using shuffle-sharding" (Amazon Builders' Library).
"""

from random import Random

from costlab.service.fault_kinds.effects import Break, Crash, Effect, Wait

_THEN = {"answer": Wait, "reset": Break, "crash": Crash}


class PoisonTenant:
    """Holds requests for ``ms``, then does as ``then`` says. Whose requests: costlab/service/fault_edges.py."""

    def __init__(self, client: str, ms: float, then: str) -> None:
        self.client = client
        self._effect = _THEN[then](ms / 1000)

    def effect(self, random: Random) -> Effect:
        """Always the same."""
        return self._effect

"""Which replica of an upstream a request goes to, by the flag ``gateway.balancer``.

    whose shard? ─► who was not tried? ─► who is not ejected? ─► the policy picks ─► counted as under way until it ends
    shuffle_shard   failover, retries     http.ejection          the files beside

A request that goes on after a failure goes to any of those that are left. With one replica none of this happens.
"""

import os
import time
from collections.abc import Callable, Sequence
from random import Random

from costlab.resilience.round_robin import RoundRobin
from costlab.service import context
from costlab.service.flags import Flags
from costlab.service.replica_set import Picker, Replica
from gateway.balancer import least_inflight, random_choice, two_choices
from gateway.balancer.in_flight import InFlight
from gateway.balancer.shuffle_shard import shard


class Balancer(Picker):
    """Picks replicas of one upstream; it knows the requests of its own gateway process only."""

    def __init__(self, flags: Flags, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._flags = flags
        self._in_flight = InFlight(clock)
        random = Random()  # noqa: S311 - spreads load, guards nothing, and the system's costs several times as much
        # Processes forked from one another must not draw the same.
        os.register_at_fork(after_in_child=random.seed)
        self._policies: dict[str, Callable[[Sequence[Replica]], Replica]] = {
            "random": lambda replicas: random_choice.pick(replicas, random),
            "round_robin": RoundRobin().pick,
            "least_inflight": lambda replicas: least_inflight.pick(replicas, self._load, random),
            "two_choices": lambda replicas: two_choices.pick(replicas, self._load, random),
            "shuffle_shard": lambda replicas: random_choice.pick(replicas, random),
        }

    def members(self, replicas: Sequence[Replica]) -> Sequence[Replica]:
        """The shard of the client whose request this thread works on; all replicas under every other policy."""
        if self._flags["gateway.balancer"] != "shuffle_shard":
            return replicas
        request = context.current()
        names = tuple(replica.name for replica in replicas)
        mine = shard("" if request is None else request.client, names, self._flags["gateway.shard_size"])
        return [replica for replica in replicas if replica.name in mine]

    def pick(self, replicas: Sequence[Replica]) -> Replica:
        """The one the policy in force chooses."""
        return self._policies[self._flags["gateway.balancer"]](replicas)

    def began(self, replica: Replica) -> None:
        """A request is on its way to ``replica``."""
        self._in_flight.began(replica.name, self._flags["gateway.balancer_staleness"])

    def ended(self, replica: Replica) -> None:
        """It is over, one way or another."""
        self._in_flight.ended(replica.name, self._flags["gateway.balancer_staleness"])

    def _load(self, replica: Replica) -> int:
        return self._in_flight.count(replica.name, self._flags["gateway.balancer_staleness"])

"""The replicas of one upstream as a process sees them: who there is, and who is asked next.

Names are looked up again every second on a thread of their own, so that no request waits for DNS; while DNS does not
answer, the last addresses stand. With one replica there is nothing to choose, and nothing is counted.

Replicas that keep failing are left out for a while (outlier_ejection.py) where ``http.ejection`` says so.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from random import SystemRandom

from costlab.resilience.outlier_ejection import OutlierEjection
from costlab.resilience.round_robin import RoundRobin
from costlab.service import logs, metrics
from costlab.service.addresses import Address, Resolver, by_dns, parse, resolve
from costlab.service.connection_pool import ConnectionPool
from costlab.service.flags import Flags

LOOK_UP_SECONDS = 1.0
# Seeded by the system at every draw: processes forked from one another must not go the same ways.
_random = SystemRandom()


class Replica:
    """One instance of an upstream. ``number`` counts from 1 and is what metrics call it."""

    __slots__ = ("address", "number", "pool")

    def __init__(self, number: int, address: Address, pool: ConnectionPool) -> None:
        self.number = number
        self.address = address
        self.pool = pool

    @property
    def name(self) -> str:
        """The same in every process."""
        return f"{self.address.host}:{self.address.port}"


class Picker:
    """Who is asked: each in turn. The gateway has its own (gateway/balancer/balancer.py)."""

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def members(self, replicas: Sequence[Replica]) -> Sequence[Replica]:
        """Those of ``replicas`` that the current request may be sent to at all."""
        return replicas

    def pick(self, replicas: Sequence[Replica]) -> Replica:
        """The one to ask next."""
        return self._turns.pick(replicas)

    def began(self, replica: Replica) -> None:
        """A request is on its way to ``replica``."""

    def ended(self, replica: Replica) -> None:
        """It is over, one way or another."""


class ReplicaSet:
    """The replicas behind ``urls`` (see addresses.py). ``pool`` makes the connection pool of one."""

    def __init__(
        self,
        upstream: str,
        urls: str,
        pool: Callable[[Address], ConnectionPool],
        picker: Picker,
        flags: Flags,
        resolver: Resolver = by_dns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream = upstream
        self._named = parse(urls)
        self._fixed = all(address.literal for address in self._named)
        self._pool = pool
        self._picker = picker
        self._flags = flags
        self._resolver = resolver
        self._clock = clock
        self._ejection = OutlierEjection()
        self._replicas: tuple[Replica, ...] = ()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._requests = metrics.Children(metrics.REPLICA_REQUESTS)

    def now(self) -> Sequence[Replica]:
        """The replicas; OSError while no name is known to DNS."""
        if not self._replicas:
            self.look_up()
        return self._replicas

    def choose(self, tried: Collection[Replica]) -> Replica:
        """The replica to ask next: one that is not among ``tried``, where there is such a one, and not ejected.

        Whoever was sent somewhere before goes on at random: it has had its turn, and if it took another one, a replica
        that fails at every second turn would get every request.
        """
        members = self._picker.members(self.now())
        left = self._not_ejected(_without(members, tried) or members)
        return _random.choice(left) if tried else self._picker.pick(left)

    def untried(self, tried: Collection[Replica]) -> bool:
        """Whether the current request could go to a replica that is not among ``tried``."""
        return bool(_without(self._picker.members(self.now()), tried))

    def began(self, replica: Replica) -> None:
        """A request is on its way to ``replica``."""
        self._picker.began(replica)

    def ended(self, replica: Replica, outcome: str, fair: bool) -> None:
        """It is over, with ``outcome`` as in CLIENT_SECONDS. A failure counts when it was given ``fair`` time."""
        self._picker.ended(replica)
        self._requests[self._upstream, str(replica.number), outcome].inc()
        with self._lock:
            if outcome == "ok":
                self._ejection.succeeded(replica.name)
            elif fair and self._ejecting() and self._failed(replica):
                self._ejected(replica)

    def look_up(self) -> None:
        """Take over what the names stand for now. A replica that stays keeps its number and its connections."""
        addresses = resolve(self._named, self._resolver)
        with self._lock:
            before = {replica.address: replica for replica in self._replicas}
            if not addresses or set(addresses) == set(before):
                return
            self._replicas = self._numbered(addresses, before)
            self._ejection.keep([replica.name for replica in self._replicas], self._clock())
        for address in before.keys() - set(addresses):
            before[address].pool.clear()

    def start(self) -> None:
        """Follow DNS, where a name may change its meaning, and show who is out."""
        if not self._fixed or len(self._named) > 1:
            self._thread = threading.Thread(target=self._follow, name=f"replicas-{self._upstream}", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop following, and close every idle connection."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        for replica in self._replicas:
            replica.pool.clear()

    def _not_ejected(self, replicas: Sequence[Replica]) -> Sequence[Replica]:
        """Those of ``replicas`` that are in; all of them when all are out."""
        if not self._ejecting():
            return replicas
        now = self._clock()
        with self._lock:
            return [replica for replica in replicas if not self._ejection.is_out(replica.name, now)] or replicas

    def _failed(self, replica: Replica) -> bool:
        return self._ejection.failed(replica.name, len(self._replicas), self._clock())

    def _ejecting(self) -> bool:
        return self._flags["http.ejection"] == "on"

    def _ejected(self, replica: Replica) -> None:
        metrics.REPLICA_EJECTIONS.labels(self._upstream, str(replica.number)).inc()
        about = {"upstream": self._upstream, "replica": replica.number, "address": replica.name}
        logs.get("replicas").warning("replica.ejected", extra=about)

    def _show(self) -> None:
        with self._lock:
            if not self._ejecting():
                self._ejection = OutlierEjection()  # nobody is out when it is switched on again
            out = self._ejection.out(self._clock())
        metrics.REPLICAS_EJECTED.labels(self._upstream).set(out)

    def _numbered(self, addresses: Sequence[Address], before: dict[Address, Replica]) -> tuple[Replica, ...]:
        """New ones get the lowest numbers that are free, so that there are never more numbers than replicas."""
        taken = {before[address].number for address in addresses if address in before}
        free = (number for number in range(1, len(addresses) + 1) if number not in taken)
        kept_or_new = [
            before.get(address) or Replica(next(free), address, self._pool(address)) for address in addresses
        ]
        return tuple(sorted(kept_or_new, key=lambda replica: replica.number))

    def _follow(self) -> None:
        while not self._ended.wait(LOOK_UP_SECONDS):
            self._show()
            if self._fixed:
                continue
            try:
                self.look_up()
            except OSError as error:
                logs.get("dns").debug("dns.away", extra={"upstream": self._upstream, "reason": str(error)})


def _without(replicas: Sequence[Replica], tried: Collection[Replica]) -> Sequence[Replica]:
    return [replica for replica in replicas if replica not in tried] if tried else replicas

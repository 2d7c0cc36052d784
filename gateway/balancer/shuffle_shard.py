"""Shuffle sharding: each client has a few replicas of its own, and shares all of them with hardly anybody.

Example: 8 replicas, shards of 2: 28 different shards. A client whose requests kill replicas takes its own 2 down. With
no shards everybody is hit; with 4 fixed shards of 2, one client in 4; here one in 28 loses both its replicas, and 12
in 28 lose one of two and go on with the other.

Trade-off: a client is served by ``size`` replicas and no more: it queues there while others are idle, and a large one
is no longer spread over all. Retries and failover stay inside the shard, or the poison would go where it should not.

Use instead: no shards and a rate limit per client, where clients are only large and not harmful.

Units: replicas. The same client has the same shard in every gateway, and keeps it when a replica outside of it goes:
the replicas are ranked for each client by a hash of both names (rendezvous hashing), and the first ``size`` are taken.
Source: MacCarthaigh, "Workload isolation using shuffle-sharding" (Amazon Builders' Library); Thaler and Ravishankar,
"Using Name-Based Mappings to Increase Hit Rates" (1998).
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b


@lru_cache(maxsize=1024)
def shard(client: str, names: Sequence[str], size: int) -> frozenset[str]:
    """The ``size`` of ``names`` (a tuple) that belong to ``client``; all of them when there are no more."""
    return frozenset(sorted(names, key=lambda name: _rank(client, name))[:size])


def _rank(client: str, name: str) -> bytes:
    return blake2b(f"{client}\0{name}".encode(), digest_size=8).digest()

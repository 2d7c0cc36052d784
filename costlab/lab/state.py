"""Puts a stack into the state every block starts from."""

import redis

from costlab.lab.errors import LabError

# What the cache-proxy keeps in Redis (services/cache_proxy/cache_store.py); other keys there are not ours to touch.
CACHED = "cache:entry:*"


def empty_cache(redis_url: str) -> int:
    """Drop every cached answer; how many there were."""
    try:
        with redis.Redis.from_url(redis_url, socket_timeout=5) as client:
            keys = list(client.scan_iter(CACHED, count=1000))
            for start in range(0, len(keys), 1000):
                client.unlink(*keys[start : start + 1000])
    except redis.RedisError as error:
        raise LabError(f"the cache cannot be emptied: Redis at {redis_url}: {error}") from error
    return len(keys)

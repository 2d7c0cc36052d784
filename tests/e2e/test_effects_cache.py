"""Every flag of the cache has its effect on the running stack: set it, see the change, reset it, see it go."""

import re

import pytest

from tests.e2e.test_effects import cache_status

pytestmark = pytest.mark.usefixtures("control")


def cached(control, **flags: object) -> None:
    """Reads go through the cache-proxy, under ``flags`` of the cache."""
    changes = {f"cache.{name}": value for name, value in flags.items()}
    control.set_flags({"gateway.reads": "cache_proxy"} | changes)


def seconds_left(client, path: str) -> int:
    """What is left of the lifetime of an answer that was stored a moment ago."""
    client.get(path)
    return int(re.search(r"hit; ttl=(-?\d+)", cache_status(client.get(path)))[1])


def test_cache_strategy_ttl_jitter_gives_answers_different_lifetimes(control, client):
    cached(control, strategy="ttl_jitter", ttl=3600)
    jittered = {seconds_left(client, f"/api/users/{user}") for user in range(101, 111)}
    assert len(jittered) > 5
    assert 3000 < min(jittered) < max(jittered) < 4200
    cached(control, strategy="ttl")
    plain = [seconds_left(client, f"/api/users/{user}") for user in range(111, 121)]
    assert 3590 < min(plain) <= max(plain) < 3600

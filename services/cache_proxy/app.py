"""cache-proxy: answers the GETs of users and orders from Redis while they are fresh, else from their origin."""

import time
from collections.abc import Callable

from flask import Flask

from costlab.service.app import Service
from costlab.service.settings import load
from services.cache_proxy.cache_store import CacheStore
from services.cache_proxy.invalidation_listener import InvalidationListener
from services.cache_proxy.proxy import Proxy
from services.cache_proxy.settings import CacheProxySettings

# As long as the gateway waits at most, so that a slow origin is as slow through the cache as without it.
ORIGIN_SECONDS = 30.0


def create_app() -> Flask:
    """The cache-proxy as the environment describes it."""
    return create(load(CacheProxySettings, "cache-proxy")).app


def create(settings: CacheProxySettings, clock: Callable[[], float] = time.time) -> Service:
    """The cache-proxy under ``settings``. It is ready without Redis, because it serves without Redis."""
    service = Service("cache-proxy", settings)
    urls = {"users": settings.users_url, "orders": settings.orders_url}
    origins = {name: service.client(name, url, ORIGIN_SECONDS) for name, url in urls.items()}
    cache = CacheStore(settings.redis_url)
    service.on_stop(cache.close)
    listener = InvalidationListener(service.redis)
    service.on_start(listener.start)
    service.on_stop(listener.stop)
    service.check("invalidation", listener.check)
    service.door.public = Proxy(service.door.public, origins, cache, service.flags, clock)
    return service

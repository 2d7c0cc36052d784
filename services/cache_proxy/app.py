"""cache-proxy: answers the GETs of users and orders from Redis while they are fresh, else from their origin."""

import time
from collections.abc import Callable

from flask import Flask

from costlab.service.app import Service
from costlab.service.settings import load
from services.cache_proxy import routes
from services.cache_proxy.background import Background
from services.cache_proxy.cache_store import CacheStore
from services.cache_proxy.eviction import Eviction
from services.cache_proxy.filling import ORIGIN_SECONDS, Filling
from services.cache_proxy.invalidation_listener import InvalidationListener
from services.cache_proxy.proxy import Proxy
from services.cache_proxy.settings import CacheProxySettings

# Calls to origins that no caller waits for, or several do; beyond that they run on the thread of a caller.
BACKGROUND_CALLS = 32


def create_app() -> Flask:
    """The cache-proxy as the environment describes it."""
    return create(load(CacheProxySettings, "cache-proxy")).app


def create(settings: CacheProxySettings, clock: Callable[[], float] = time.time) -> Service:
    """The cache-proxy under ``settings``. It is ready without Redis, because it serves without Redis."""
    service = Service("cache-proxy", settings)
    urls = {"users": settings.users_url, "orders": settings.orders_url}
    origins = {name: service.client(name, url, ORIGIN_SECONDS) for name, url in urls.items()}
    cache = CacheStore(settings.redis_url, service.tracing, service.faults.edge("redis"))
    service.on_stop(cache.close)
    background = Background(BACKGROUND_CALLS)
    service.on_stop(background.stop)
    filling = Filling(cache, service.flags, clock, background)
    listener = InvalidationListener(service.redis)
    service.on_start(listener.start)
    service.on_stop(listener.stop)
    eviction = Eviction(service.redis, service.flags)
    service.on_start(eviction.start)
    service.on_stop(eviction.stop)
    service.check("invalidation", listener.check)
    service.faults.know_routes(lambda: [route.label for route in routes.ROUTES])
    service.door.public = Proxy(service.door.public, origins, cache, filling, service.flags, clock)
    return service

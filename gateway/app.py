"""The gateway: the only public door of the system."""

from flask import Flask

from costlab.service.app import Service
from costlab.service.settings import load
from gateway import openapi, routes
from gateway.api_keys import ApiKeys
from gateway.balancer.balancer import Balancer
from gateway.proxy import CACHE_PROXY, LONGEST_SECONDS, Proxy
from gateway.rate_limit.limiter import RateLimiter
from gateway.settings import GatewaySettings


def create_app() -> Flask:
    """The gateway as the environment describes it."""
    return create(load(GatewaySettings, "gateway")).app


def create(settings: GatewaySettings) -> Service:
    """The gateway under ``settings``."""
    service = Service("gateway", settings, edge=True)
    urls = {"users": settings.users_url, "orders": settings.orders_url, CACHE_PROXY: settings.cache_proxy_url}
    upstreams = {
        name: service.client(name, url, LONGEST_SECONDS, Balancer(service.flags)) for name, url in urls.items()
    }
    limiter = RateLimiter(service.redis, service.flags)
    service.on_stop(limiter.close)
    keys = ApiKeys.parse(settings.api_keys.get_secret_value())
    service.app.register_blueprint(openapi.blueprint([upstreams["users"], upstreams["orders"]]))
    service.tell("/clients", lambda: {"clients": keys.clients()})
    service.faults.know_routes(lambda: [route.label for route in routes.ROUTES])
    service.door.public = Proxy(service.door.public, upstreams, keys, limiter, service.flags)
    return service

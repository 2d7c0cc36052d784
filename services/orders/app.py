"""orders: the catalogue in memory, placing orders, an order, a user's history, statistics."""

from flask import Flask

from costlab.service.app import Service
from costlab.service.invalidation import Invalidation
from costlab.service.settings import load
from services.orders import routes, stock
from services.orders.catalogue.loader import CatalogueLoader
from services.orders.configuration import OrdersConfiguration
from services.orders.history_index import HistoryIndex
from services.orders.json_codec import JsonCodec
from services.orders.placing import Placing
from services.orders.publishing import Publishing, dual_write
from services.orders.relay import Relay
from services.orders.settings import OrdersSettings
from services.orders.store import OrderStore
from services.orders.user_lookup import UserLookup


def create_app() -> Flask:
    """The service, wired; nothing connects before its first use."""
    settings = load(OrdersSettings, "orders")
    service = Service("orders", settings)
    database = service.database(settings.database_url)
    stream = service.redis_for(settings.redis_url, dual_write.ANSWER_SECONDS)
    service.on_stop(stream.close)
    store = OrderStore(database, service.flags, Publishing(service.flags, stream, service.tracing))
    users = UserLookup(
        service.flags,
        direct=service.client("users", settings.users_url),
        cached=service.client("cache-proxy", settings.cache_proxy_url),
    )
    catalogue = CatalogueLoader(database, service.flags)
    service.on_preload(catalogue.preload)
    service.on_start(catalogue.follower.start)
    service.on_stop(catalogue.follower.stop)
    service.check("catalogue", catalogue.check)
    index = HistoryIndex(database, service.flags)
    service.on_start(index.follower.start)
    service.on_stop(index.follower.stop)
    relay = Relay(settings.relay_url(), service.redis, service.tracing)
    service.on_start(relay.start)
    service.on_stop(relay.stop)
    configuration = service.configuration(OrdersConfiguration)
    invalidation = Invalidation(settings.redis_url, service.faults.edge("redis"), service.tracing)
    placing = Placing(service.flags, store, catalogue, users, invalidation, configuration)
    service.slots("orders.slots", "orders.slot_ms")
    service.app.json = JsonCodec(service.app, service.flags)
    service.app.register_blueprint(routes.blueprint(store, catalogue, placing, configuration))
    service.app.register_blueprint(stock.blueprint(stock.StockRoom(database, service.flags)))
    return service.app

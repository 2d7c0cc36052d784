"""users: who there is. Users by id, in batch, and create."""

from flask import Flask

from costlab.service.app import Service
from costlab.service.feature_provider import Features
from costlab.service.invalidation import Invalidation
from costlab.service.settings import load
from services.users import routes
from services.users.settings import UsersSettings
from services.users.store import UserStore
from services.users.versioned_read import VersionedRead


def create_app() -> Flask:
    """The service, wired; nothing connects before its first use."""
    settings = load(UsersSettings, "users")
    service = Service("users", settings)
    service.slots("users.slots", "users.slot_ms")
    store = UserStore(service.database(settings.database_url))
    reading = VersionedRead(store, Features(service.flags))
    invalidation = Invalidation(settings.redis_url, service.faults.edge("redis"), service.tracing)
    service.app.register_blueprint(routes.blueprint(store, reading, invalidation))
    return service.app

"""orders, running on the prepared database, with users behind real HTTP."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from flask import Flask
from redis import Redis

from costlab.service.database import Database
from costlab.service.flags import FlagStore, Registry
from costlab.service.redis_client import connect
from costlab.service.tracing import Tracing
from services.orders.app import create_app
from services.orders.publishing import Publishing
from services.orders.store import OrderStore
from services.users.app import create_app as create_users
from tests.conditions import eventually
from tests.services.conftest import running, served


@dataclass
class StandIn:
    """A service that answers ``status`` to everything and remembers what it was asked."""

    status: int = 200
    asked: list[str] = field(default_factory=list)

    def app(self) -> Flask:
        app = Flask("stand-in")

        @app.get("/<path:path>")
        def answer(path: str):
            self.asked.append(f"/{path}")
            return {}, self.status

        return app


@pytest.fixture(scope="module")
def cache_proxy() -> Iterator[tuple[StandIn, str]]:
    """A stand-in for the cache-proxy, and its URL."""
    stand_in = StandIn()
    with served(stand_in.app()) as url:
        yield stand_in, url


@pytest.fixture(scope="module")
def app(database, redis_url, cache_proxy) -> Iterator[Flask]:
    environment = {"REDIS_URL": redis_url, "DATABASE_URL": database.url("users")}
    with running(create_users, environment) as users, served(users) as users_url:
        environment |= {
            "DATABASE_URL": database.url("orders"),
            "USERS_URL": users_url,
            "CACHE_PROXY_URL": cache_proxy[1],
        }
        with running(create_app, environment) as orders:
            eventually(lambda: orders.test_client().get("/readyz").status_code == 200, within=30)
            yield orders


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def set_flag(app, redis_url) -> Iterator:
    """``set_flag("orders.user_lookup", "cache_proxy")`` until the test ends."""
    flags = app.extensions["costlab"].flags
    changed = []
    with Redis.from_url(redis_url) as redis:
        store = FlagStore(redis, Registry.load())

        def change(name: str, value: object) -> None:
            changed.append(name)
            revision = store.set({name: value})
            eventually(lambda: flags.revision >= revision)

        yield change
        if changed:
            revision = store.set(dict.fromkeys(changed))
            eventually(lambda: flags.revision >= revision)


@pytest.fixture
def make_store(database, redis_url, set_flags) -> Iterator:
    """``make_store(**{"orders.queries": "join"})``: the store alone, without a service around it."""
    opened = []

    def make(url: str = redis_url, **values: object) -> OrderStore:
        flags = set_flags(**values)
        kit, redis = Database(database.url("orders"), flags, Tracing("orders", flags, None), "tests"), connect(url)
        opened.extend([kit, redis])
        return OrderStore(kit, flags, Publishing(flags, redis, Tracing("orders", flags, None)))

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def store(make_store) -> OrderStore:
    """The store with every flag at its default."""
    return make_store()

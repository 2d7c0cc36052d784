"""The cache-proxy, running, in front of an origin that does what a test tells it to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import orjson
import pytest
from prometheus_client import REGISTRY
from redis import Redis
from werkzeug import Request, Response

from costlab.service.flags import FlagStore, Registry
from costlab.service.invalidation import CHANNEL
from costlab.service.settings import load
from services.cache_proxy.app import create
from services.cache_proxy.filling import Filling
from services.cache_proxy.settings import CacheProxySettings
from tests.conditions import eventually
from tests.services.conftest import running, served
from tests.services.redis_server import RedisServer


class Origin:
    """Answers every GET with ``answer`` and remembers what it was asked. While ``gate`` is closed it keeps silent."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Version 1, asked by nobody, gate open."""
        self.answer: Callable[[Request], Response] = lambda request: version(1)
        self.asked: list[Request] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, environ, start_response):
        request = Request(environ)
        self.asked.append(request)
        answer = self.answer(request)
        self.gate.wait(10)
        return answer(environ, start_response)

    def targets(self) -> list[str]:
        """Path and query of everything it was asked."""
        return [request.full_path.rstrip("?") for request in self.asked]


def version(number: int, status: int = 200, **headers: str) -> Response:
    """An answer that can be told from others by its number."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(orjson.dumps({"version": number}), status, named, content_type="application/json")


def counted(name: str, **labels: str) -> float:
    """The value of a metric of the cache."""
    return REGISTRY.get_sample_value(f"costlab_cache_{name}_total", labels) or 0


START = 1_700_000_000.0


class Clock:
    """Unix time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Stack:
    """A running cache-proxy and what is around it."""

    app: object
    origin: Origin
    redis_url: str
    clock: Clock

    def get(self, target: str, **headers: str):
        """GET ``target`` through the proxy."""
        return self.open(target, "GET", **headers)

    def open(self, target: str, method: str, **headers: str):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.app.test_client().open(target, method=method, headers=named)

    def status(self, target: str, **headers: str) -> str:
        """Cache-Status of a GET, without the name of the cache."""
        return self.get(target, **headers).headers["Cache-Status"].removeprefix("costlab; ")

    def version(self, target: str) -> int:
        return self.get(target).json["version"]

    @contextmanager
    def asking(self, count: int, target: str, **headers: str) -> Iterator[list[Response]]:
        """``count`` clients that ask for ``target`` at once; their answers are there when the block has ended."""
        answers: list[Response] = []
        clients = [threading.Thread(target=lambda: answers.append(self.get(target, **headers))) for _ in range(count)]
        for client in clients:
            client.start()
        try:
            yield answers
        finally:
            self.origin.gate.set()
            for client in clients:
                client.join(20)

    @property
    def filling(self) -> Filling:
        """What fills the cache, to look at what it is doing."""
        return self.app.extensions["costlab"].door.public._filling

    def change(self, number: int, *paths: str) -> None:
        """The origin changes to ``number`` and says so; returns when the proxy has heard of it."""
        self.origin.answer = lambda request: version(number)
        self.invalidate(*paths)

    def invalidate(self, *paths: str) -> None:
        self.publish(orjson.dumps(paths))
        with Redis.from_url(self.redis_url) as redis:
            eventually(lambda: not redis.exists(*[f"cache:generation:{path}" for path in paths]))

    def publish(self, message: bytes) -> None:
        with Redis.from_url(self.redis_url) as redis:
            eventually(lambda: redis.publish(CHANNEL, message) == 1)

    def set(self, **values: object) -> None:
        """Set flags of the cache and wait until they are in force."""
        self.set_flags({f"cache.{name}": value for name, value in values.items()})

    def set_flags(self, changes: dict[str, object]) -> None:
        """Set flags and wait until they are in force."""
        with Redis.from_url(self.redis_url) as redis:
            revision = FlagStore(redis, Registry.load()).set(changes)
        flags = self.app.extensions["costlab"].flags
        eventually(lambda: flags.revision >= revision)


@pytest.fixture(scope="session")
def redis_of_the_cache(tmp_path_factory) -> Iterator[RedisServer]:
    """A Redis that tests of the cache may kill; they leave it running."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def running_stack(redis_of_the_cache) -> Iterator[Stack]:
    """Started once; each test finds it as if it were new."""
    origin, clock, url = Origin(), Clock(), redis_of_the_cache.url
    with served(origin) as origin_url:
        environment = {"REDIS_URL": url, "USERS_URL": origin_url, "ORDERS_URL": origin_url}
        with running(lambda: create(load(CacheProxySettings, "cache-proxy"), clock).app, environment) as app:
            yield Stack(app, origin, url, clock)


@pytest.fixture
def second(stack) -> Iterator[Stack]:
    """Another process of the same service: the same Redis and origin, nothing else in common."""
    with served(stack.origin) as origin_url:
        environment = {"REDIS_URL": stack.redis_url, "USERS_URL": origin_url, "ORDERS_URL": origin_url}
        with running(lambda: create(load(CacheProxySettings, "cache-proxy"), stack.clock).app, environment) as app:
            yield Stack(app, stack.origin, stack.redis_url, stack.clock)


@pytest.fixture
def server(redis_of_the_cache) -> RedisServer:
    """Its data is gone; when a test has killed it, it is up again."""
    with Redis.from_url(redis_of_the_cache.url) as redis:
        redis.flushall()
    return redis_of_the_cache


@pytest.fixture
def fault_at_users(stack, monkeypatch, tmp_path) -> dict[str, str]:
    """Headers of a request for which users shall make a fault: the origin answers it with 418, and others as ever."""
    token = tmp_path / "token"
    token.write_text("secret")
    monkeypatch.setattr(stack.app.extensions["costlab"].door._fault_header, "_token_file", token)
    usual = stack.origin.answer
    stack.origin.answer = lambda request: version(418, 418) if "X-Costlab-Fault" in request.headers else usual(request)
    return {"X_Costlab_Fault": "errors;status=418;on=users", "X_Costlab_Token": "secret"}


@pytest.fixture
def stack(server, running_stack) -> Stack:
    """The proxy with strategy ttl of 30 s, a clock that stands still, and nothing stored."""
    running_stack.origin.reset()
    running_stack.clock.now = START
    running_stack.set(strategy="ttl", ttl=30)
    eventually(lambda: running_stack.status("/users/1") == "hit; ttl=30")  # it has seen Redis come back
    running_stack.origin.reset()
    return running_stack

"""The gateway as it is deployed: under gunicorn, in its own process, in front of upstreams that are real sockets."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from costlab.stack.control import Control
from tests.conditions import eventually
from tests.services.gateway.message import Reply, read_reply
from tests.services.gateway.upstream import Upstream

ROOT = Path(__file__).resolve().parents[3]
FLAGS = (
    "gateway.reads",
    "gateway.rate_limit",
    "gateway.rate_limit_rate",
    "gateway.rate_limit_burst",
    "gateway.compress",
    "http.breaker",
)


@dataclass
class RunningGateway:
    """A gateway process and what stands behind it."""

    port: int
    internal_port: int
    control: Control
    redis: Redis
    upstreams: dict[str, Upstream]

    def send(self, message: bytes) -> Reply:
        """The answer to bytes sent as they are, on a connection of their own."""
        with self.connect() as link:
            link.sendall(message)
            return read_reply(link, head=message.startswith(b"HEAD"))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def call(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Reply:
        """The answer to a well-formed request; ``X_Api_Key="demo"`` gives a header."""
        lines = [f"{method} {target} HTTP/1.1", "Host: gateway.test"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))


@pytest.fixture(scope="session")
def redis_client(redis_url) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(scope="session")
def running_gateway(redis_url, redis_client, tmp_path_factory) -> Iterator[RunningGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    token = folder / "token"
    token.write_text("secret")
    port, internal_port = free_port(), free_port()
    upstreams = {name: Upstream() for name in ("users", "orders", "cache-proxy")}
    environment = {
        "COSTLAB_BIND": f"127.0.0.1:{port}",
        "COSTLAB_INTERNAL_BIND": f"127.0.0.1:{internal_port}",
        "COSTLAB_TOKEN_FILE": str(token),
        "COSTLAB_REDIS_URL": redis_url,
        "COSTLAB_USERS_URL": upstreams["users"].url,
        "COSTLAB_ORDERS_URL": upstreams["orders"].url,
        "COSTLAB_CACHE_PROXY_URL": upstreams["cache-proxy"].url,
        "COSTLAB_PROCESSES": "1",
        "COSTLAB_THREADS": "8",
    }
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "infra/gunicorn.conf.py", "gateway.app:create_app()"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"} | environment,
        stderr=log,
    )
    try:
        eventually(lambda: _listens(port) or _died(process, folder / "log"), within=30)
        control = Control({"gateway": f"http://127.0.0.1:{internal_port}"}, "secret")
        yield RunningGateway(port, internal_port, control, redis_client, upstreams)
    finally:
        process.terminate()
        process.wait(30)
        log.close()
        for upstream in upstreams.values():
            upstream.close()


@pytest.fixture
def gateway(running_gateway) -> Iterator[RunningGateway]:
    """The gateway with every flag at its default, fresh limits and upstreams that answer ``ok``."""
    for key in running_gateway.redis.keys("costlab:rate_limit:*"):
        running_gateway.redis.delete(key)
    for upstream in running_gateway.upstreams.values():
        upstream.reset()
    running_gateway.control.set_flags(dict.fromkeys(FLAGS))
    yield running_gateway
    running_gateway.control.set_flags(dict.fromkeys(FLAGS))


@pytest.fixture
def users(gateway) -> Upstream:
    return gateway.upstreams["users"]


@pytest.fixture
def orders(gateway) -> Upstream:
    return gateway.upstreams["orders"]


@pytest.fixture
def cache_proxy(gateway) -> Upstream:
    return gateway.upstreams["cache-proxy"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


def _died(process: subprocess.Popen, log: Path) -> bool:
    if process.poll() is not None:
        pytest.fail(f"the gateway did not start: {log.read_text()}")
    return False

"""CPU of a request with and without the check of each mechanism that is off; and what the hot paths take.

``python -m benchmarks.off_costs`` is started by benchmarks/flags.py, in a process of its own: prometheus-client decides
at import whether it counts as services of several processes do. Hosts are called as gunicorn calls them, in this
thread, against an upstream and a Redis in processes of their own; CPU is this thread's. Within a round each mechanism
has four blocks: with, without, without, with its check; one ratio comes of them, so that a drift of the machine hits
both alike. Prints JSON.
"""

import argparse
import io
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.trace import SpanKind
from redis import Redis

from benchmarks.off_mechanisms import GATEWAY, MECHANISMS, REDIS, SERVICE, Switch
from benchmarks.processes import BenchmarkError
from costlab.service import context, metrics
from costlab.service.app import Service
from costlab.service.client_timeout import ClientTimeout
from costlab.service.flags import FlagStore, Registry
from costlab.service.settings import ServiceSettings
from gateway.app import create
from gateway.settings import GatewaySettings

SEED = 21
WARM_UP = 5
MICRO_CALLS = 400
_INTERNAL = "127.0.0.1:1"


class Hosts:
    """The three things a mechanism may be part of, each a call without arguments."""

    def __init__(self, upstream: str, redis_url: str, folder: Path) -> None:
        token = folder / "token"
        token.write_text("bench")
        shared: dict[str, Any] = {"redis_url": redis_url, "token_file": token, "internal_bind": _INTERNAL}
        urls = dict.fromkeys(("users_url", "orders_url", "cache_proxy_url"), upstream)
        self.gateway = create(GatewaySettings(**shared, **urls))
        self.service = Service("users", ServiceSettings(**shared))
        self.service.app.add_url_rule("/constant", view_func=lambda: {"answer": 42})
        self._redis = Redis.from_url(redis_url)
        self._store = FlagStore(self._redis, Registry.load())
        self._names = tuple(Registry.load().defaults())
        self.calls: dict[str, Callable[[], object]] = {
            GATEWAY: lambda: _ask(self.gateway, "/api/users/7"),
            SERVICE: lambda: _ask(self.service, "/constant"),
            REDIS: lambda: self.service.redis.get("nothing"),
        }

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()
        for host in (self.gateway, self.service):
            host.stop()

    def set(self, **flags: object) -> None:
        """Those flags, and all others at their defaults."""
        self._store.set(dict.fromkeys(self._names) | flags)
        for host in (self.gateway, self.service):
            host.flags.refresh()


def _ask(host: Service, path: str) -> None:
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": path,
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        "HTTP_USER_AGENT": "bench",
        "HTTP_ACCEPT": "application/json",
        "HTTP_X_API_KEY": "demo",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    }
    statuses: list[str] = []
    b"".join(host.door(environ, lambda status, headers, exc_info=None: statuses.append(status)))
    if statuses != ["200 OK"]:
        raise BenchmarkError(f"{host.name} answered {', '.join(statuses)} to {path}")


def measure(hosts: Hosts, rounds: int, requests: int, progress: Callable[[int], None]) -> dict:
    """Ratios and CPU of every mechanism, nanoseconds of every hot path, by round."""
    order = random.Random(SEED)  # noqa: S311 - an order of blocks, not a secret
    parts = _parts(hosts)
    micro = _micro(hosts)
    blocks: dict[str, list[dict[str, float]]] = {name: [] for name in parts}
    nanoseconds: dict[str, list[float]] = {name: [] for name in micro}
    for number in range(rounds):
        progress(number)
        for name in order.sample(list(parts), len(parts)):
            host, flags, switches = parts[name]
            hosts.set(**flags)
            blocks[name].append(_block(hosts.calls[host], switches, requests, order.random() < 0.5))
        hosts.set(**{"tracing.sample": 0})
        for name in order.sample(list(micro), len(micro)):
            nanoseconds[name].append(_nanoseconds(micro[name]))
        context.enter(None)
    return {"mechanisms": {name: {"host": parts[name][0], "rounds": blocks[name]} for name in parts}, "ns": nanoseconds}


def _parts(hosts: Hosts) -> dict[str, tuple[str, dict[str, object], list[Switch]]]:
    return {row.name: (row.host, dict(row.off), row.switches()) for row in MECHANISMS}


def _block(call: Callable[[], object], switches: list[Switch], requests: int, first: bool) -> dict[str, float]:
    """CPU microseconds of a request with and without the checks: the lower quartile, which a busy machine disturbs
    least. Afterwards the checks are in force.
    """
    spent: dict[bool, list[float]] = {True: [], False: []}
    for checked in (first, not first, not first, first):
        for switch in switches:
            switch(checked)
        for _ in range(WARM_UP):
            call()
        for _ in range(requests):
            started = time.thread_time_ns()
            call()
            spent[checked].append((time.thread_time_ns() - started) / 1000)
    for switch in switches:
        switch(True)
    return {"with": _lower_quartile(spent[True]), "without": _lower_quartile(spent[False])}


def _lower_quartile(values: list[float]) -> float:
    return statistics.quantiles(values, n=4)[0]


def _micro(hosts: Hosts) -> dict[str, Callable[[], object]]:
    """What services do in passing, many times per request."""
    flags, tracing = hosts.service.flags, hosts.service.tracing
    counters = metrics.Children(metrics.CACHE_REQUESTS)
    seconds = metrics.Children(metrics.CLIENT_SECONDS)
    untraced, traced = context.Request("bench", None, False), context.Request("bench", None, False)
    edge = hosts.service.faults.edge("redis")

    def unsampled_child() -> None:
        context.enter(untraced)
        with tracing.child("bench", SpanKind.CLIENT):
            pass

    def sampled_child() -> None:
        context.enter(traced)
        with tracing.child("bench", SpanKind.CLIENT):
            pass

    timeout = ClientTimeout()

    def timed_call() -> None:
        with timeout.within(None, 5):
            pass

    hosts.set(**{"tracing.sample": 1})
    tracing.enter(traced, "", "GET")
    return {
        "a flag read": lambda: flags["cache.ttl"],
        "a fault looked for": lambda: edge.active,
        "a database call and its timeout": timed_call,
        "a counter, its child looked up": lambda: counters["hit",].inc(),
        "a histogram, its child looked up": lambda: seconds["users", "ok"].observe(0.003),
        "a request placed in no trace": lambda: tracing.enter(untraced, "", "GET"),
        "a span of a request that is not sampled": unsampled_child,
        "a span of a request that is sampled": sampled_child,
    }


def _nanoseconds(operation: Callable[[], object]) -> float:
    """CPU of one call, the call of an empty function taken off."""

    def nothing() -> None:
        pass

    return (_cpu(operation) - _cpu(nothing)) / MICRO_CALLS * 1e9


def _cpu(operation: Callable[[], object]) -> float:
    started = time.thread_time()
    for _ in range(MICRO_CALLS):
        operation()
    return time.thread_time() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("upstream", "redis", "folder"):
        parser.add_argument(name)
    for name in ("rounds", "requests"):
        parser.add_argument(name, type=int)
    options = parser.parse_args()
    hosts = Hosts(options.upstream, options.redis, Path(options.folder))
    measured = measure(
        hosts,
        options.rounds,
        options.requests,
        lambda number: print(f"  mechanisms that are off: round {number + 1} of {options.rounds}", file=sys.stderr),
    )
    hosts.close()
    print(json.dumps(measured))


if __name__ == "__main__":
    main()

"""Faults of the calls a service makes: each edge fails as what it leads to fails."""

import socket
import threading
import time
from types import SimpleNamespace

import psycopg2
import pytest
from gunicorn.config import Config
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from costlab.service import context, redis_client
from costlab.service.database import Database
from costlab.service.fault_edges import Active, Edge, dribble, meet, pattern, refuse, shape
from costlab.service.fault_kinds import KINDS
from costlab.service.fault_kinds.chance import PROCESS_NUMBER, decide
from costlab.service.faults import Record, Registry
from costlab.service.http_client import HttpClient, UpstreamTimeout, UpstreamUnreachable
from costlab.service.leader_followers import OneSendResponse
from costlab.service.problem import Unavailable
from costlab.service.tracing import Tracing
from tests.unit.service.test_http_client import Server, within

REGISTRY = Registry.load()


def put(edge: Edge, fault: str, ttl: float = 60, rate: float = 1, seed: int = 1, **parameters: float) -> Active:
    """Make ``fault`` active at ``edge``."""
    wanted = {"fault": fault, "on": "users", "edge": edge.name, "seed": seed, "ttl": ttl, "rate": rate}
    wish = REGISTRY.wish(wanted | {"parameters": parameters})
    kind = KINDS[fault](**wish.parameters)
    active = Active(Record.of(wish, time.time()), kind, time.monotonic() + ttl)
    edge.active = (*edge.active, active)
    return active


# Another service


@pytest.fixture
def server():
    made = Server([], b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n" + b"x" * 40)
    yield made
    made.close()


@pytest.fixture
def edge():
    return Edge("peer")


@pytest.fixture
def client(server, edge, set_flags):
    flags = set_flags()
    made = HttpClient("peer", server.url, flags, Tracing("test", flags, None), 5.0, edge)
    yield made
    made.close()


def timed(action):
    started = time.monotonic()
    found = action()
    return found, time.monotonic() - started


def test_latency_comes_before_the_call_and_adds_up(client, edge):
    put(edge, "latency", ms=60)
    put(edge, "latency", ms=40)
    answer, seconds = timed(lambda: client.get("/"))
    assert answer.status == 200
    assert seconds >= 0.1


def test_a_call_never_waits_beyond_its_deadline(client, edge, server):
    put(edge, "latency", ms=60000)
    with within(0.05), pytest.raises(UpstreamTimeout):
        client.get("/")
    put(edge, "hang")
    with within(0.05), pytest.raises(UpstreamTimeout):
        client.get("/")
    assert server.requests == []


def test_an_error_is_an_answer_that_the_upstream_never_gave(client, edge, server):
    put(edge, "errors", status=500)
    answer = client.get("/")
    assert (answer.status, answer.header("content-type")) == (500, "application/problem+json")
    assert server.requests == []


def test_a_reset_is_an_upstream_that_cannot_be_reached(client, edge):
    put(edge, "reset")
    with pytest.raises(UpstreamUnreachable, match="reset by peer"):
        client.get("/")


def test_a_slow_body_takes_its_time_or_runs_into_the_deadline(client, edge):
    put(edge, "slow_body", bytes_per_second=400)
    answer, seconds = timed(lambda: client.get("/"))
    assert len(answer.body) == 40
    assert seconds >= 0.1
    with within(0.05), pytest.raises(UpstreamTimeout):
        client.get("/")


def test_who_hangs_goes_on_when_the_fault_ends(client, edge):
    active = put(edge, "hang")
    threading.Timer(0.05, active.end).start()
    assert client.get("/").status == 200


def test_a_fault_whose_time_is_over_does_nothing(client, edge):
    put(edge, "hang", ttl=1).ends = time.monotonic()
    assert client.get("/").status == 200


def test_a_wish_for_another_service_is_handed_on_with_its_signature(client, server):
    with within(5, fault="x-costlab-fault: latency;on=orders\r\nx-costlab-fault-signature: abc\r\n"):
        client.get("/")
    with within(5):
        client.get("/")
    assert b"\r\nx-costlab-fault: latency;on=orders\r\nx-costlab-fault-signature: abc\r\n" in server.requests[0]
    assert b"costlab-fault" not in server.requests[1]


def test_the_span_of_what_was_met_names_the_fault(client, edge):
    put(edge, "latency", ms=1)
    span = Span()
    with within(5, span=span):
        meet(edge.active, 1)
    assert span.attributes == {"costlab.fault": "latency"}


def test_two_processes_meet_a_fault_each_by_a_sequence_of_its_own(monkeypatch):
    def met(number: str) -> list[bool]:
        monkeypatch.setenv(PROCESS_NUMBER, number)
        active = put(Edge("peer"), "errors", rate=0.5)
        return [active.effect() is not None for _ in range(64)]

    assert met("1") == met("1") != met("2") == met("2")


class Span:
    """Remembers its attributes."""

    def __init__(self) -> None:
        self.attributes = {}

    def set_attribute(self, name: str, value: str) -> None:
        self.attributes[name] = value


# Requests that come in


def test_an_injected_answer_tells_caches_not_to_keep_it():
    told = []
    refuse(404, lambda status, headers: told.append((status, dict(headers))))
    [(status, headers)] = told
    assert status == "404 Not Found"
    assert headers["Cache-Control"] == "no-store"


class Pace:
    """Waits for pieces of 4 bytes as long as ``meanwhile()`` takes."""

    def __init__(self, meanwhile) -> None:
        self.wait = lambda size: meanwhile()

    def part(self) -> int:
        return 4


def test_a_slow_body_comes_after_a_head_that_comes_at_once():
    """As gunicorn sends it: what a client has got by each wait, and in the end."""

    def service(environ, start):
        start("200 OK", [("Content-Length", "10")])
        return [b"0123456", b"789"]

    ours, theirs = socket.socketpair()
    with ours, theirs:
        request = SimpleNamespace(method="GET", version=(1, 1), should_close=lambda: False)
        response = OneSendResponse(request, ours, Config())
        got = []
        dribble(service, {}, response.start_response, Pace(lambda: got.append(theirs.recv(4096))))
        response.close()
        got.append(theirs.recv(4096))
    assert got[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert got[0].endswith(b"\r\n\r\n")
    assert got[1:] == [b"0123", b"456", b"789"]


def test_a_slow_answer_without_a_body_is_an_answer():
    def service(environ, start):
        start("204 No Content", [])
        return []

    started = []
    assert list(dribble(service, {}, lambda *given: started.append(given), Pace(lambda: None))) == []
    assert [status for status, _, _ in started] == ["204 No Content"]


# PostgreSQL


@pytest.fixture
def postgres():
    return Edge("postgres")


@pytest.fixture
def database(postgres_url, postgres, set_flags):
    flags = set_flags()
    made = Database(postgres_url, flags, Tracing("test", flags, None), "test", postgres)
    made.ping()
    yield made
    made.close()


def test_every_statement_waits(database, postgres):
    put(postgres, "latency", ms=50)
    assert timed(database.ping)[1] >= 0.05

    def two() -> None:
        with database.transaction() as statements:
            statements.execute("select 1")
            statements.execute("select 2")

    assert timed(two)[1] >= 0.1


def test_a_statement_that_hangs_is_cancelled_at_the_deadline(database, postgres):
    put(postgres, "hang")
    context.enter(context.Request("id", time.monotonic() + 0.05))
    try:
        with pytest.raises(Unavailable, match="did not answer in time"):
            database.ping()
    finally:
        context.enter(None)


def test_an_error_is_one_of_the_servers(database, postgres):
    put(postgres, "errors")
    with pytest.raises(psycopg2.InternalError):
        database.ping()


def test_a_reset_really_breaks_the_connection(database, postgres):
    put(postgres, "reset")
    with pytest.raises(Unavailable):
        database.ping()
    postgres.active = ()
    database.ping()


def test_one_reset_among_many_is_healed_by_another_connection(database, postgres):
    """A statement on a connection that turns out to be dead is sent once more."""

    def meets(seed: int) -> list[bool]:
        return [decide(KINDS["reset"](), 0.5, seed, number) is not None for number in range(3)]

    put(postgres, "reset", rate=0.5, seed=next(seed for seed in range(100) if meets(seed) == [True, False, False]))
    assert [database.query("select 1") for _ in range(2)] == [[(1,)]] * 2


# Redis


@pytest.fixture
def cache():
    return Edge("redis")


@pytest.fixture
def faulty(redis_url, redis, cache):
    client = redis_client.connect(redis_url, 0.2, cache)
    client.ping()
    yield client
    client.close()


def test_commands_wait_and_a_pipeline_waits_once(faulty, cache):
    put(cache, "latency", ms=50)
    assert timed(faulty.ping)[1] >= 0.05
    pipe = faulty.pipeline()
    for _ in range(20):
        pipe.ping()
    assert timed(pipe.execute)[1] < 0.5


def test_a_new_connection_greets_without_a_fault(faulty, cache):
    put(cache, "errors")
    faulty.connection_pool.disconnect()
    with pytest.raises(ResponseError, match="injected"):
        faulty.ping()


def test_redis_that_hangs_runs_into_the_timeout(faulty, cache):
    put(cache, "hang")
    with pytest.raises(RedisTimeoutError):
        faulty.ping()


def test_redis_that_resets_is_a_broken_connection(faulty, cache):
    put(cache, "reset")
    with pytest.raises(RedisConnectionError, match="reset by peer"):
        faulty.ping()
    cache.active = ()
    assert faulty.ping()


# Routes


@pytest.mark.parametrize(
    ("route", "path", "same"),
    [
        ("/users/<int:user_id>", "/users/7", True),
        ("/users/{id}", "/users/7", True),
        ("/users/{id}", "/users/7/orders", False),
        ("/orders/{id}", "/orders/stats", False),
        ("/files/<name>", "/files/7", True),
        ("/a.b", "/axb", False),
    ],
)
def test_a_route_means_its_paths_and_no_others(route, path, same):
    assert bool(pattern(route).fullmatch(path)) is same


def test_a_route_may_be_written_in_both_ways():
    assert shape("/users/<int:user_id>/orders") == shape("/users/{id}/orders") == "/users/{}/orders"

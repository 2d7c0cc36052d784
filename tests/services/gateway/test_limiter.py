"""The rate limiter at the edge: one client's state in Redis, and what happens without Redis."""

import contextlib
import secrets
import socket
import threading
import time

import pytest
from redis import Redis

from costlab.service import metrics, redis_client
from costlab.service.problem import Unavailable
from gateway.rate_limit.limiter import ALGORITHMS, KEY, PAUSE_SECONDS, Limited, RateLimiter
from gateway.rate_limit.quota import Decision, Quota

ROUTE = "/api/users/{id}"
GCRA = {"gateway.rate_limit": "gcra", "gateway.rate_limit_rate": 0.1, "gateway.rate_limit_burst": 3}


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Line:
    """A port that leads to Redis, until it is cut: then it refuses, or accepts and says nothing."""

    def __init__(self, redis_url):
        parameters = Redis.from_url(redis_url).connection_pool.connection_kwargs
        self._target = (parameters["host"], parameters["port"])
        self._links, self._threads = [], []
        self._listen(0)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.connections = 0
        self._silent = False

    def cut(self):
        # A shutdown ends the wait of the thread that accepts or reads there.
        for link in (self._listener, *self._links):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for link in (self._listener, *self._links):
            link.close()
        self._links, self._threads = [], []

    def silence(self):
        self.cut()
        self._silent = True
        self._listen(self.port)

    def restore(self):
        if self._silent:
            self.cut()
        self._silent = False
        self._listen(self.port)

    def _listen(self, port):
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._begin(self._accept, self._listener)

    def _begin(self, target, *args):
        self._threads.append(threading.Thread(target=target, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self, listener):
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._links.append(link)
            if not self._silent:
                other = socket.create_connection(self._target)
                self._links.append(other)
                for pair in ((link, other), (other, link)):
                    self._begin(_pipe, *pair)


def _pipe(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for link in (source, sink):
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line(redis_url):
    made = Line(redis_url)
    yield made
    made.cut()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client():
    return secrets.token_hex(4)


@pytest.fixture
def limiter(line, clock, set_flags):
    made = RateLimiter(redis_client.connect(line.url), set_flags(**GCRA), clock)
    yield made
    made.close()


@pytest.fixture
def limiter_with(line, clock, set_flags):
    """``limiter_with(**{"gateway.rate_limit": "token_bucket"})``: as ``limiter``, with other flags beside."""
    made = []

    def make(**changes):
        made.append(RateLimiter(redis_client.connect(line.url), set_flags(**(GCRA | changes)), clock))
        return made[-1]

    yield make
    for limiter in made:
        limiter.close()


def outcome(name):
    value = metrics.REGISTRY.get_sample_value("costlab_rate_limit_decisions_total", {"outcome": name})
    return value or 0


def admitted(limiter, client):
    return limiter.decide(client, ROUTE).decision.admitted


def test_a_client_is_limited_and_others_are_not(limiter, client):
    before = outcome("admitted"), outcome("refused")
    assert [admitted(limiter, client) for _ in range(5)] == [True, True, True, False, False]
    assert admitted(limiter, f"{client}-other")
    assert (outcome("admitted"), outcome("refused")) == (before[0] + 4, before[1] + 2)


def test_two_gateways_share_one_limit(limiter, client, redis_url, set_flags):
    other = RateLimiter(redis_client.connect(redis_url), set_flags(**GCRA))
    assert [admitted(one, client) for one in (limiter, other, limiter, other)] == [True, True, True, False]
    other.close()


def test_many_requests_at_once_are_admitted_no_more_often_than_the_burst(limiter_with, client, monkeypatch):
    """However late a busy machine answers 30 threads: patience is not what is asked here."""
    for patience in ("CONNECT_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(f"gateway.rate_limit.limiter.{patience}", 10.0)
    limiter, results = limiter_with(), []
    threads = [threading.Thread(target=lambda: results.append(admitted(limiter, client))) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(results) == 3


def test_off_means_that_redis_is_not_asked(line, set_flags, client):
    off = RateLimiter(redis_client.connect(line.url), set_flags())
    assert off.decide(client, ROUTE) is None
    assert line.connections == 0


def test_one_connection_serves_request_after_request(limiter, client, line):
    for _ in range(5):
        limiter.decide(client, ROUTE)
    assert line.connections == 1


def test_a_redis_that_forgot_the_script_is_told_it_again(limiter, client, redis_url):
    limiter.decide(client, ROUTE)
    with Redis.from_url(redis_url) as redis:
        redis.script_flush()
    assert [admitted(limiter, client) for _ in range(3)] == [True, True, False]


def test_a_redis_that_was_restarted_is_used_at_once(limiter, client, line):
    limiter.decide(client, ROUTE)
    line.cut()
    line.restore()
    assert limiter.decide(client, ROUTE) is not None


def test_without_redis_requests_pass_and_are_counted_as_unlimited(limiter, client, line):
    line.cut()
    before = outcome("unlimited")
    assert [limiter.decide(client, ROUTE) for _ in range(5)] == [None] * 5
    assert outcome("unlimited") == before + 5


def test_a_redis_that_hangs_costs_one_request_its_timeout_and_the_others_nothing(limiter, client, line):
    limiter.decide(client, ROUTE)
    line.silence()
    started = time.monotonic()
    assert [limiter.decide(client, ROUTE) for _ in range(100)] == [None] * 100
    assert time.monotonic() - started < 0.5
    assert line.connections == 2


def test_after_a_pause_one_request_asks_again_and_the_others_do_not_wait_for_it(limiter, client, line, clock):
    line.silence()
    limiter.decide(client, ROUTE)
    clock.now += PAUSE_SECONDS
    asked = line.connections
    threads = [threading.Thread(target=limiter.decide, args=[client, ROUTE]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert line.connections == asked + 1


def test_it_heals_by_itself_once_redis_is_back(limiter, client, line, clock):
    line.cut()
    assert limiter.decide(client, ROUTE) is None
    line.restore()
    assert limiter.decide(client, ROUTE) is None
    clock.now += PAUSE_SECONDS
    assert [admitted(limiter, client) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("away", ["cut", "silence"])
def test_closed_without_redis_nothing_passes_and_all_is_told_to_come_back(limiter_with, client, line, clock, away):
    limiter = limiter_with(**{"gateway.rate_limit_redis_away": "closed"})
    assert admitted(limiter, client)
    before, started = outcome("unavailable"), time.monotonic()
    getattr(line, away)()
    for _ in range(20):
        with pytest.raises(Unavailable) as refused:
            limiter.decide(client, ROUTE)
        assert refused.value.headers == {"Retry-After": "1"}
    assert time.monotonic() - started < 1
    assert outcome("unavailable") == before + 20
    line.restore()
    clock.now += PAUSE_SECONDS
    assert [admitted(limiter, client) for _ in range(3)] == [True, True, False]


def test_another_algorithm_begins_afresh_and_leaves_the_state_of_the_first_alone(limiter_with, client):
    limiters = [limiter_with(**{"gateway.rate_limit": name}) for name in ALGORITHMS]
    for _ in range(2):  # twice: a window of 30 s of the clock may end within one of the rounds, not within both
        counts = [sum(admitted(limiter, client) for _ in range(4)) for limiter in limiters]
        if counts == [3] * len(ALGORITHMS):
            break
        client += "-again"
    assert counts == [3] * len(ALGORITHMS)
    assert not admitted(limiters[ALGORITHMS.index("gcra")], client)


def test_another_quota_begins_afresh(limiter_with, client):
    assert [admitted(limiter_with(), client) for _ in range(4)] == [True, True, True, False]
    larger = limiter_with(**{"gateway.rate_limit_burst": 5})
    assert [admitted(larger, client) for _ in range(6)] == [True] * 5 + [False]


def test_per_client_and_route_each_route_has_a_limit_of_its_own(limiter_with, client):
    limiter = limiter_with(**{"gateway.rate_limit_key": "client_route"})
    assert [admitted(limiter, client) for _ in range(4)] == [True, True, True, False]
    assert limiter.decide(client, "/api/orders").decision.admitted
    assert not admitted(limiter, client)


def test_state_that_is_no_number_lets_requests_pass(limiter, client, redis_url):
    with Redis.from_url(redis_url) as redis:
        redis.hset(KEY.format(algorithm="gcra", interval=10_000_000, burst=3, client=client), "a", "b")
    assert limiter.decide(client, ROUTE) is None


def test_headers_round_up_so_that_nobody_comes_back_too_early():
    refused = Limited("gcra", Quota(3, 5), Decision(False, 0, 1, 1_000_001))
    assert refused.headers() == [
        ("RateLimit-Policy", '"gcra";q=5;w=2'),
        ("RateLimit", '"gcra";r=0;t=2'),
        ("Retry-After", "1"),
    ]


@pytest.mark.parametrize(
    ("rate", "burst", "policy"),
    [(100, 50, "q=100;w=1"), (100, 1, "q=100;w=1"), (10, 50, "q=50;w=5"), (4, 10, "q=12;w=3"), (0.1, 4, "q=4;w=40")],
)
def test_the_policy_states_the_rate_whatever_the_burst(rate, burst, policy):
    admitted = Limited("gcra", Quota(rate, burst), Decision(True, burst - 1, 0, 1))
    assert dict(admitted.headers())["RateLimit-Policy"] == f'"gcra";{policy}'


@pytest.mark.parametrize("name", ALGORITHMS)
def test_headers_name_the_algorithm_and_promise_the_burst_per_window(limiter_with, client, name):
    limited = limiter_with(**{"gateway.rate_limit": name}).decide(client, ROUTE)
    assert dict(limited.headers())["RateLimit-Policy"] == f'"{name}";q=3;w=30'
    assert dict(limited.headers())["RateLimit"].startswith(f'"{name}";r=2;t=')

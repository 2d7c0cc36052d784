"""The HTTP client against servers that behave, misbehave, and go away. Each server is a real socket."""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from costlab.resilience.backoff import BACKOFFS
from costlab.service import context, http_client
from costlab.service.http_client import HttpClient, UpstreamRefused, UpstreamTimeout, UpstreamUnreachable
from costlab.service.tracing import Tracing
from tests.conditions import eventually

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of ``script``: bytes to send, or a callable that gets the connection."""

    def __init__(self, script, then=OK):
        self._script = list(script)
        self._then = then
        self.requests = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        # Closing alone would let a thread that is already waiting accept one more connection.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def forget_script(self):
        self._script.clear()

    def _accept(self):
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=[link], daemon=True).start()

    def _serve(self, link):
        with link:
            while request := _read_request(link):
                self.requests.append(request)
                action = self._script.pop(0) if self._script else self._then
                if callable(action):
                    action(link)
                    return
                link.sendall(action)


def _read_request(link):
    data = b""
    while b"\r\n\r\n" not in data:
        more = link.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += link.recv(65536)
    return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def within(seconds, **request):
    """Inside, this thread works on a request that has ``seconds`` left."""
    context.enter(context.Request("abc", deadline=time.monotonic() + seconds, **request))
    try:
        yield
    finally:
        context.enter(None)


@pytest.fixture
def serve():
    servers = []

    def start(*script, then=OK):
        servers.append(Server(script, then))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def call(set_flags):
    """Make a client for a server: ``call(server).get("/")``."""
    clients = []

    def client(server, timeout=5.0, **values):
        flags = set_flags(**values)
        clients.append(HttpClient("peer", server.url, flags, Tracing("test", flags, None), timeout))
        return clients[-1]

    yield client
    for client_ in clients:
        client_.close()


def test_an_answer_has_status_headers_and_body(serve, call):
    server = serve(b"HTTP/1.1 404 Not Found\r\nX-A: 1\r\nX-A: 2\r\ncontent-length: 3\r\n\r\nabc")
    answer = call(server).get("/thing?q=1")
    assert (answer.status, answer.body) == (404, b"abc")
    assert answer.headers[:2] == [("x-a", "1"), ("x-a", "2")]
    assert server.requests[0].startswith(b"GET /thing?q=1 HTTP/1.1\r\n")


def test_a_connection_is_kept_and_used_again(serve, call):
    server = serve()
    client = call(server)
    for _ in range(5):
        assert client.get("/").body == b"ok"
    assert server.connections == 1


def test_a_connection_the_server_closes_is_not_used_again(serve, call):
    server = serve(then=b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
    client = call(server)
    for _ in range(3):
        assert client.get("/").body == b"ok"
    assert server.connections == 3


def test_without_reuse_every_call_opens_a_connection_and_closes_it(serve, call):
    ended = threading.Semaphore(0)

    def answer_and_wait_for_the_end(link):
        link.sendall(OK)
        assert link.recv(1) == b""
        ended.release()

    server = serve(then=answer_and_wait_for_the_end)
    client = call(server, **{"http.reuse": "per_call"})
    for _ in range(3):
        assert client.get("/").body == b"ok"
        assert ended.acquire(timeout=5)
    assert server.connections == 3


def test_a_call_beyond_the_pool_waits_until_a_connection_is_free(serve, call):
    free = threading.Event()

    def answer_when_free(link):
        free.wait(10)
        link.sendall(OK)

    server = serve(answer_when_free)
    client = call(server, **{"http.pool_size": 1})
    with ThreadPoolExecutor(2) as callers:
        calls = [callers.submit(client.get, "/") for _ in range(2)]
        eventually(lambda: server.requests)
        assert server.connections == 1
        free.set()
        assert [one.result().body for one in calls] == [b"ok", b"ok"]


def test_a_call_that_gets_no_connection_in_time_is_given_up(serve, call):
    free = threading.Event()

    def answer_when_free(link):
        free.wait(10)
        link.sendall(OK)

    server = serve(answer_when_free)
    client = call(server, **{"http.pool_size": 1})
    with ThreadPoolExecutor(1) as other, within(0.1):
        busy = other.submit(client.get, "/")
        eventually(lambda: server.requests)
        with pytest.raises(UpstreamTimeout):
            client.get("/")
        free.set()
        assert busy.result().body == b"ok"
    assert len(server.requests) == 1


def test_chunked_answers_are_put_together(serve, call):
    server = serve(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    client = call(server)
    assert client.get("/").body == b"abcde"
    assert client.get("/").body == b"ok"
    assert server.connections == 1


def test_an_answer_without_a_length_ends_with_its_connection(serve, call):
    server = serve(lambda link: link.sendall(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"))
    assert call(server).get("/").body == b"until the end"


def test_an_answer_that_breaks_off_is_an_error_not_a_short_body(serve, call):
    server = serve(then=lambda link: link.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"))
    with pytest.raises(UpstreamUnreachable, match="closed in the middle"):
        call(server).get("/")


def test_nonsense_instead_of_http_is_an_error(serve, call):
    server = serve(b"SSH-2.0-OpenSSH_9.2\r\n")
    with pytest.raises(UpstreamUnreachable):
        call(server).get("/")


def test_interim_answers_come_before_the_answer(serve, call):
    server = serve(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK)
    answer = call(server).get("/")
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.header("link") == ""


def test_head_and_204_have_no_body_and_keep_the_connection(serve, call):
    server = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n")
    client = call(server)
    assert client.request("HEAD", "/").body == b""
    assert client.request("DELETE", "/").status == 204
    assert client.get("/").body == b"ok"
    assert server.connections == 1


def test_a_get_on_an_idle_connection_that_was_closed_is_sent_again(serve, call):
    def answer_and_close(link):
        link.sendall(OK)

    server = serve(answer_and_close)
    client = call(server)
    assert client.get("/").body == b"ok"
    assert client.get("/").body == b"ok"
    assert server.connections == 2


def test_a_post_that_got_no_answer_is_not_sent_again(serve, call):
    server = serve(OK, lambda link: None)
    client = call(server)
    client.request("POST", "/", body=b"1")
    with pytest.raises(UpstreamUnreachable):
        client.request("POST", "/", body=b"2")
    assert len(server.requests) == 2


def test_a_server_that_does_not_answer_is_given_up_in_time(serve, call):
    done = threading.Event()
    server = serve(lambda link: done.wait(10))
    started = time.monotonic()
    with pytest.raises(UpstreamTimeout, match=r"peer did not answer within 0\.10 s"):
        call(server, timeout=0.1).get("/")
    assert time.monotonic() - started < 2
    done.set()


def test_a_server_that_trickles_cannot_stretch_the_deadline(serve, call):
    """Each byte arrives in time, but the whole answer does not."""
    done = threading.Event()

    def trickle(link):
        link.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while not done.wait(0.02):
            link.sendall(b"x")

    server = serve(trickle)
    started = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        call(server, timeout=0.2).get("/")
    assert time.monotonic() - started < 2
    done.set()


def test_nobody_listening_is_unreachable(call):
    server = Server([])
    server.close()
    with pytest.raises(UpstreamUnreachable):
        call(server).get("/")


def test_connecting_takes_no_longer_than_the_request_has_left(call, monkeypatch):
    """The server's queue of connections is full, so the kernel leaves the next one without an answer."""
    monkeypatch.setattr(http_client, "CONNECT_SECONDS", 60)
    with contextlib.ExitStack() as open_, socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        for _ in range(4):
            waiting = open_.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        full = SimpleNamespace(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        started = time.monotonic()
        with within(0.1), pytest.raises(UpstreamTimeout):
            call(full).get("/")
        with pytest.raises(UpstreamTimeout):
            call(full, **{"http.attempt_timeout": 0.1}).get("/")
        assert time.monotonic() - started < 10


def test_the_requests_id_trace_and_remaining_time_are_handed_on(serve, call):
    server = serve()
    request = context.Request(
        "abc", deadline=time.monotonic() + 1.0, traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-00"
    )
    context.enter(request)
    try:
        call(server).get("/")
    finally:
        context.enter(None)
    sent = server.requests[0].decode()
    assert "x-request-id: abc\r\n" in sent
    assert f"traceparent: {request.traceparent}\r\n" in sent
    left = int(sent.split("x-request-timeout-ms: ")[1].split("\r\n")[0])
    assert 0 < left <= 1000


class Clock:
    """The monotonic clock, set ``ahead`` by as many seconds as a test says."""

    perf_counter = staticmethod(time.perf_counter)

    def __init__(self):
        self.ahead = 0

    def monotonic(self):
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch):
    """The client's clock."""
    clock = Clock()
    monkeypatch.setattr(http_client, "time", clock)
    return clock


def told(server):
    """The milliseconds that the last request to ``server`` was told it has left."""
    return int(server.requests[-1].split(b"x-request-timeout-ms: ")[1].split(b"\r\n")[0])


def test_the_wait_for_a_connection_is_taken_off_the_time_that_is_handed_on(serve, call, clock):
    """90 of 100 s are over when the connection comes free."""
    free = threading.Event()

    def answer_when_free(link):
        free.wait(10)
        link.sendall(OK)

    def wait_for_it():
        with within(100):
            return client.get("/").body

    server = serve(answer_when_free)
    client = call(server, timeout=1000, **{"http.pool_size": 1})
    pool = client._replicas.now()[0].pool
    with ThreadPoolExecutor(2) as callers:
        first = callers.submit(client.get, "/")
        eventually(lambda: server.requests)
        second = callers.submit(wait_for_it)
        eventually(lambda: pool._returned._waiters)
        clock.ahead = 90
        free.set()
        assert [first.result().body, second.result()] == [b"ok", b"ok"]
    assert 0 < told(server) <= 10_000


def test_the_time_lost_with_one_replica_is_taken_off_what_the_next_is_told(serve, call_all, clock, monkeypatch):
    """The first replica leaves the connect unanswered for 90 of 100 s."""
    really, asked = socket.create_connection, []

    def nobody_answers_at_first(address, timeout):
        asked.append(address)
        if len(asked) == 1:
            clock.ahead = 90
            raise TimeoutError
        return really(address, timeout)

    servers = [serve(), serve()]
    client = call_all(servers, timeout=1000)
    monkeypatch.setattr(http_client.socket, "create_connection", nobody_answers_at_first)
    with within(100):
        assert client.get("/").body == b"ok"
    answered = next(server for server in servers if server.requests)
    assert 0 < told(answered) <= 10_000


def test_the_time_a_fault_took_before_the_call_is_taken_off_too(serve, call, clock):
    class Slow:
        active = True

        def meet(self, left):
            clock.ahead = 90

    server = serve()
    client = call(server, timeout=1000)
    client._edge = Slow()
    with within(100):
        assert client.get("/").body == b"ok"
    assert 0 < told(server) <= 10_000


def test_without_deadlines_only_the_clients_own_timeout_holds_and_nothing_is_handed_on(serve, call):
    server = serve()
    with within(-1):
        assert call(server, **{"http.deadline": "off"}).get("/").body == b"ok"
    assert b"x-request-timeout-ms" not in server.requests[0]
    assert b"x-request-id: abc\r\n" in server.requests[0]
    done = threading.Event()
    hanging = serve(lambda link: done.wait(10))
    with within(60), pytest.raises(UpstreamTimeout, match=r"within 0\.10 s"):
        call(hanging, timeout=0.1, **{"http.deadline": "off"}).get("/")
    done.set()


def test_a_request_whose_deadline_is_over_is_not_sent(serve, call):
    server = serve()
    with within(-1), pytest.raises(UpstreamTimeout):
        call(server).get("/")
    assert server.requests == []


@pytest.mark.parametrize("target", ["no-slash", "/a b", "/a\r\nX-Injected: 1", "/ä", ""])
def test_a_target_that_could_break_the_request_line_is_refused(serve, call, target):
    with pytest.raises(ValueError, match="a request target is a path"):
        call(serve()).get(target)


def test_with_the_breaker_on_an_upstream_that_keeps_failing_is_not_called(serve, call):
    server = serve(then=b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n")
    client = call(server, **{"http.breaker": "breaker"})
    for _ in range(5):
        assert client.get("/").status == 500
    with pytest.raises(UpstreamRefused):
        client.get("/")
    assert len(server.requests) == 5


def test_with_the_breaker_off_every_call_is_made(serve, call):
    server = serve(then=b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n")
    client = call(server)
    for _ in range(12):
        assert client.get("/").status == 500
    assert len(server.requests) == 12


def test_an_answer_that_says_no_is_no_failure_of_the_upstream(serve, call):
    server = serve(then=b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
    client = call(server, **{"http.breaker": "breaker"})
    for _ in range(12):
        assert client.get("/").status == 404


FAILED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
RETRY = {"http.retry": "immediate"}


def test_without_retries_a_failure_is_the_answer(serve, call):
    server = serve(FAILED)
    assert call(server).get("/").status == 503
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", sorted(BACKOFFS))
def test_every_kind_of_retry_makes_a_failed_call_again(serve, call, kind):
    server = serve(FAILED)
    assert call(server, **{"http.retry": kind}).get("/").body == b"ok"
    assert len(server.requests) == 2


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_attempts_never_exceed_the_number_allowed_and_the_last_answer_stands(serve, call, attempts):
    server = serve(then=FAILED)
    assert call(server, **RETRY, **{"http.retry_attempts": attempts}).get("/").status == 503
    assert len(server.requests) == attempts


def test_a_connection_that_breaks_is_retried_like_an_answer_that_says_no(serve, call):
    server = serve(lambda link: None, FAILED)
    assert call(server, **RETRY).get("/").body == b"ok"
    assert len(server.requests) == 3


def test_when_every_attempt_breaks_the_error_is_that_of_the_last(serve, call):
    server = serve(then=lambda link: None)
    with pytest.raises(UpstreamUnreachable):
        call(server, **RETRY).get("/")
    assert len(server.requests) == 3


def test_an_attempt_that_takes_too_long_is_given_up_and_made_again(serve, call):
    done = threading.Event()
    server = serve(lambda link: done.wait(10))
    assert call(server, **RETRY, **{"http.attempt_timeout": 0.1}).get("/").body == b"ok"
    assert len(server.requests) == 2
    done.set()


def test_without_a_timeout_of_its_own_an_attempt_may_take_all_the_time_there_is(serve, call):
    done = threading.Event()
    server = serve(lambda link: done.wait(10))
    with within(0.2), pytest.raises(UpstreamTimeout):
        call(server, **RETRY).get("/")
    assert len(server.requests) == 1
    done.set()


def test_no_attempt_starts_after_the_deadline(serve, call):
    """The upstream asks to be left alone for a second; the request has less."""
    server = serve(then=b"HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n")
    started = time.monotonic()
    with within(0.9):
        assert call(server, **RETRY).get("/").status == 503
    assert time.monotonic() - started < 0.9
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("method", "attempts"), [("GET", 3), ("HEAD", 3), ("PUT", 3), ("DELETE", 3), ("POST", 1), ("PATCH", 1)]
)
def test_only_a_request_that_may_be_made_twice_is_retried(serve, call, method, attempts):
    server = serve(then=FAILED)
    assert call(server, **RETRY).request(method, "/orders").status == 503
    assert len(server.requests) == attempts


@pytest.mark.parametrize(
    ("target", "key", "idempotency", "attempts"),
    [
        ("/orders", "Idempotency-Key", "on", 3),
        ("/orders", "IDEMPOTENCY-KEY", "on", 3),
        ("/orders", "Idempotency-Key", "off", 1),
        ("/users", "Idempotency-Key", "on", 1),
        ("/stock/1/reserve", "Idempotency-Key", "on", 1),
        ("/orders", "X-Other", "on", 1),
    ],
)
def test_a_key_makes_a_post_repeatable_only_where_it_is_heeded(serve, call, target, key, idempotency, attempts):
    server = serve(then=FAILED)
    client = call(server, **RETRY, **{"orders.idempotency": idempotency})
    assert client.request("POST", target, ((key, "k1"),)).status == 503
    assert len(server.requests) == attempts


def test_an_answer_that_will_be_the_same_again_is_not_asked_for_again(serve, call):
    server = serve(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
    assert call(server, **RETRY).get("/").status == 404
    assert len(server.requests) == 1


def test_whoever_retries_tells_the_services_behind_not_to(serve, call):
    server = serve(FAILED)
    call(server, **RETRY).get("/")
    assert all(b"\r\nx-no-retry: 1\r\n" in request for request in server.requests)


def test_whoever_cannot_retry_leaves_it_to_the_services_behind(serve, call):
    server = serve(then=FAILED)
    call(server, **RETRY).request("POST", "/")
    call(server).get("/")
    assert not any(b"x-no-retry" in request for request in server.requests)


def test_a_request_that_its_sender_retries_is_not_retried_here_and_the_word_is_handed_on(serve, call):
    server = serve(then=FAILED)
    with within(5, retried_by_caller=True):
        call(server, **RETRY).get("/")
        call(server, **RETRY).request("POST", "/")
    assert len(server.requests) == 2
    assert all(b"\r\nx-no-retry: 1\r\n" in request for request in server.requests)


def test_with_retries_in_every_layer_nobody_heeds_or_sends_the_word(serve, call):
    server = serve(then=FAILED)
    with within(5, retried_by_caller=True):
        call(server, **RETRY, **{"http.retry_layers": "every"}).get("/")
    assert len(server.requests) == 3
    assert not any(b"x-no-retry" in request for request in server.requests)


def test_an_open_circuit_is_not_asked_again(serve, call):
    server = serve(then=FAILED)
    client = call(server, **RETRY, **{"http.breaker": "breaker", "http.retry_attempts": 10})
    with pytest.raises(UpstreamRefused):
        client.get("/")
    assert len(server.requests) == 5


@pytest.fixture
def traced(call):
    """``traced(server, flags...)``: what a sampled request's GET leaves: the spans of its attempts, in order."""

    def get(server, **flags):
        client, memory = call(server, **flags), InMemorySpanExporter()
        tracing = client._tracing
        tracing._provider.add_span_processor(SimpleSpanProcessor(memory))
        request = context.Request("abc", deadline=time.monotonic() + 10)
        tracing.enter(request, f"00-{'1' * 32}-{'2' * 16}-01", "GET")
        context.enter(request)
        try:
            client.get("/")
            client.get("/")
        finally:
            context.enter(None)
        return memory.get_finished_spans()

    return get


def test_each_attempt_has_a_span_of_its_own_linked_to_the_first(serve, traced):
    first, *later, other = traced(serve(FAILED, FAILED, FAILED), **RETRY)
    assert [span.attributes.get("http.request.resend_count") for span in (first, *later)] == [None, 1, 2]
    assert {span.attributes["http.response.status_code"] for span in (first, *later)} == {503}
    assert {span.parent.span_id for span in (first, *later)} == {first.parent.span_id}
    assert first.links == ()
    for span in later:
        assert [(link.context, dict(link.attributes)) for link in span.links] == [
            (first.context, {"costlab.attempt": "retry"})
        ]
    assert other.links == (), "another call is no attempt at this one"


def test_with_a_budget_of_ten_percent_attempts_stay_within_it_when_everything_fails(serve, call):
    server = serve(then=FAILED)
    client = call(server, **RETRY, **{"http.retry_budget": 0.1})
    for _ in range(50):
        assert client.get("/").status == 503
    assert 50 + 14 <= len(server.requests) <= 50 * 1.1 + 10


THROTTLE = {"http.breaker": "client_throttle"}


def test_with_the_throttle_on_an_upstream_that_keeps_failing_is_called_less_and_less(serve, call):
    """All fail: call n + 1 is made with a chance of 1 in n + 1, so 300 calls send about 6 (the harmonic number)."""
    server = serve(then=FAILED)
    client = call(server, **THROTTLE)
    outcomes = []
    for _ in range(300):
        with contextlib.suppress(UpstreamRefused):
            outcomes.append(client.get("/").status)
    assert set(outcomes) == {503}
    assert len(server.requests) == len(outcomes) < 40


def test_the_throttle_refuses_nothing_while_the_upstream_answers(serve, call):
    server = serve(then=b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
    client = call(server, **THROTTLE, **{"http.breaker_k": 1})
    assert {client.get("/").status for _ in range(50)} == {404}


def test_what_the_throttle_refused_is_not_tried_again(serve, call):
    server = serve(then=FAILED)
    client = call(server, **THROTTLE, **RETRY, **{"http.retry_attempts": 10})
    client._throttle._chance = lambda: 0.0
    with pytest.raises(UpstreamRefused, match="not called for now"):
        client.get("/")
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["breaker", "client_throttle"])
def test_an_impatient_caller_cannot_have_the_upstream_refused_to_others(serve, call, kind):
    done = threading.Event()
    server = serve(*[lambda link: done.wait(10)] * 10)
    client = call(server, **{"http.breaker": kind, "http.breaker_k": 1})
    for _ in range(10):
        with within(0.01), pytest.raises(UpstreamTimeout):
            client.get("/")
    server.forget_script()
    assert {client.get("/").status for _ in range(20)} == {200}
    done.set()


@pytest.fixture
def call_all(set_flags):
    """A client for several servers at once: ``call_all([one, other]).get("/")``."""
    clients = []

    def client(servers, timeout=5.0, **values):
        flags, urls = set_flags(**values), ",".join(server.url for server in servers)
        clients.append(HttpClient("peer", urls, flags, Tracing("test", flags, None), timeout))
        return clients[-1]

    yield client
    for client_ in clients:
        client_.close()


def nobody():
    """A server that has gone: connections to it are refused."""
    server = Server([])
    server.close()
    return server


def test_several_replicas_are_asked_in_turn_each_over_a_connection_of_its_own(serve, call_all):
    servers = [serve(), serve(), serve()]
    client = call_all(servers)
    for _ in range(9):
        assert client.get("/").body == b"ok"
    assert [len(server.requests) for server in servers] == [3, 3, 3]
    assert [server.connections for server in servers] == [1, 1, 1]
    assert servers[1].requests[0].split(b"\r\n")[1] == f"host: {servers[1].url[7:]}".encode()


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_a_request_that_could_not_be_sent_goes_to_another_replica_whatever_it_asks_for(serve, call_all, method):
    server = serve()
    client = call_all([nobody(), server, nobody()])
    for _ in range(6):
        assert client.request(method, "/").body == b"ok"
    assert len(server.requests) == 6


def test_a_connection_that_breaks_is_tried_elsewhere_for_a_safe_method_only(serve, call_all):
    breaking, server = serve(then=lambda link: None), serve()
    client = call_all([breaking, server], **{"http.ejection": "off"})
    assert {client.get("/").body for _ in range(4)} == {b"ok"}
    assert len(breaking.requests) == 2
    failed = 0
    for _ in range(4):
        try:
            client.request("POST", "/")
        except UpstreamUnreachable:
            failed += 1
    assert failed == 2
    assert len(breaking.requests) == 4


def test_with_every_replica_gone_the_call_ends_once_each_was_tried(call_all):
    with pytest.raises(UpstreamUnreachable):
        call_all([nobody(), nobody()]).get("/")


def test_a_retry_asks_another_replica(serve, call_all):
    failing, server = serve(then=FAILED), serve()
    client = call_all([failing, server], **RETRY, **{"http.retry_attempts": 2})
    for _ in range(6):
        assert client.get("/").body == b"ok"


def test_a_post_on_an_idle_connection_that_was_closed_is_sent_on_a_new_one(serve, call):
    """The other side closed it before anything was sent, so nothing can happen twice."""
    closed = threading.Event()

    def answer_and_close(link):
        link.sendall(OK)
        link.shutdown(socket.SHUT_RDWR)
        closed.set()

    server = serve(answer_and_close)
    client = call(server)
    client.get("/")
    assert closed.wait(5)
    assert client.request("POST", "/", body=b"1").body == b"ok"
    assert len(server.requests) == 2

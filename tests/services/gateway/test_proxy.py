"""What the gateway lets through, what it answers itself, and what it makes of upstreams that misbehave."""

import select
import socket
import threading
import time

import pytest

from tests.services.gateway.message import read_reply

MIB = 1024 * 1024


def answer(head: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def is_problem(reply, status):
    assert reply.status == status
    assert reply.header("content-type") == "application/problem+json"
    assert reply.json["status"] == status
    assert reply.json["detail"]
    assert reply.json["request_id"] == reply.header("x-request-id")


# Routes


@pytest.mark.parametrize(
    ("method", "target", "upstream", "sent"),
    [
        ("GET", "/api/users/7", "users", "/users/7"),
        ("GET", "/api/users?ids=1,2,3", "users", "/users?ids=1,2,3"),
        ("POST", "/api/users", "users", "/users"),
        ("GET", "/api/users/7/orders?limit=5&after=9", "orders", "/users/7/orders?limit=5&after=9"),
        ("GET", "/api/products/200000", "orders", "/products/200000"),
        ("POST", "/api/orders", "orders", "/orders"),
        ("GET", "/api/orders/stats", "orders", "/orders/stats"),
        ("GET", "/api/orders/12", "orders", "/orders/12"),
        ("GET", "http://gateway.test/api/users/7?x=%2F..%2F", "users", "/users/7?x=%2F..%2F"),
    ],
)
def test_a_route_of_the_api_reaches_the_service_that_owns_it(gateway, method, target, upstream, sent):
    assert gateway.call(method, target).status == 200
    received = gateway.upstreams[upstream].last()
    assert (received.method, received.target) == (method, sent)


@pytest.mark.parametrize(
    "target",
    [
        "/api/",
        "/api/nothing",
        "/api/users/",
        "/api/users/x",
        "/api/users/-1",
        "/api/users/1/",
        "/api/users/12345678901234567890",
        "/api//users/1",
        "//api/users/1",
        "/api/users/1/../2",
        "/api/../api/users/1",
        "/api/./users/1",
        "/api/users/1%2Forders",
        "/api/users%2F1",
        "/api%2Fusers/1",
        "/%61pi/users/1",
        "/api/users/%31",
        "/api/users/1%00",
        "/api/users/1;x=1",
        "/api/users/%D9%A1",
        "/api/openapi.json",
        "/api/metrics",
        "/api/flags",
        "/users/1",
        "/metrics",
        "/flags",
    ],
)
def test_a_path_that_is_not_in_the_table_is_not_found_and_reaches_nobody(gateway, target):
    is_problem(gateway.call("GET", target), 404)
    assert not any(upstream.received for upstream in gateway.upstreams.values())


@pytest.mark.parametrize(
    "target", [b"/api/users/\xd9\xa1", b"/api/users/1\x00", b"/api/users/1 2", b"api/users/1\x7f", b"*"]
)
def test_a_target_that_is_no_uri_is_a_bad_request(gateway, target):
    reply = gateway.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (reply.status, reply.header("content-type")) == (400, "application/problem+json")
    assert not any(upstream.received for upstream in gateway.upstreams.values())


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("DELETE", "/api/users/1", "GET, HEAD"),
        ("GET", "/api/orders", "POST"),
        ("OPTIONS", "/api/users", "GET, HEAD, POST"),
        ("BREW", "/api/products/1", "GET, HEAD"),
    ],
)
def test_a_method_the_route_does_not_have_is_told_which_it_has(gateway, users, orders, method, target, allowed):
    reply = gateway.call(method, target)
    is_problem(reply, 405)
    assert reply.header("allow") == allowed
    assert users.received == orders.received == []


def test_requests_are_counted_under_the_route_never_under_the_path(gateway):
    gateway.call("GET", "/api/users/123456")
    gateway.call("GET", "/api/users/123457")
    gateway.call("GET", "/api/nothing/123458")
    routes = {labels["http_route"] for _, labels, _ in gateway.control.metrics("gateway") if "http_route" in labels}
    assert {"/api/users/{id}", "unmatched"} <= routes
    assert not [route for route in routes if "12345" in route]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"GET /api/users/1?x=" + b"y" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /api/users/1 HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 9000 + b"\r\n\r\n", 431),
        (b"GET /api/users/1 HTTP/1.1\r\nHost: x\r\n" + b"X-Many: 1\r\n" * 101 + b"\r\n", 431),
        (b"GET /api/users/1 HTTP/1.1\r\nHost: x\r\nExpect: the-impossible\r\n\r\n", 417),
        (b"GET /api/users/1 HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /api/users/1 HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /api/users/1 HTTP/3.0\r\nHost: x\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_answered_with_a_problem_too(gateway, users, message, status):
    reply = gateway.send(message)
    assert reply.status == reply.json["status"] == status
    assert reply.header("content-type") == "application/problem+json"
    assert users.received == []


# Headers


def test_end_to_end_headers_go_both_ways_and_repeated_ones_stay_repeated(gateway, users):
    users.reset(answer('200 OK\r\nETag: "a"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Own: yes'))
    reply = gateway.call("GET", "/api/users/1", Accept_Language="de", Idempotency_Key="k", If_None_Match='"a"')
    sent = users.last()
    assert sent.header("accept-language") == "de"
    assert sent.header("idempotency-key") == "k"
    assert sent.header("if-none-match") == '"a"'
    assert reply.header("etag") == '"a"'
    assert reply.header("x-own") == "yes"
    assert [value for name, value in reply.headers if name == "set-cookie"] == ["a=1", "b=2"]


HOP_BY_HOP = {
    "Keep-Alive": "timeout=5",
    "Proxy-Authorization": "Basic abc",
    "Proxy-Connection": "keep-alive",
    "TE": "trailers",
    "Trailer": "X-Checksum",
    "Upgrade": "websocket",
    "Expect": "100-continue",
    "X-Named": "by Connection",
}


def test_headers_of_the_hop_to_the_gateway_end_there(gateway, users):
    """RFC 9110, 7.6.1: those it lists, and those the Connection header names, in any case."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in HOP_BY_HOP.items())
    head = f"GET /api/users/1 HTTP/1.1\r\nHost: x\r\nConnection: close, x-NAMED\r\n{lines}X-Stays: 1\r\n\r\n"
    assert gateway.send(head.encode()).status == 200
    names = {name for name, _ in users.last().headers}
    assert not names & {name.lower() for name in HOP_BY_HOP}
    assert "connection" not in names
    assert "x-stays" in names


@pytest.mark.parametrize("name", ["X-Costlab-Token", "X-Costlab-Fault-Signature"])
def test_the_stacks_token_goes_no_further(gateway, users, name):
    assert gateway.call("GET", "/api/users/1", **{name: "secret", "X-Stays": "1"}).status == 200
    assert "x-stays" in {name for name, _ in users.last().headers}
    assert b"secret" not in str(users.last().headers).encode()


def test_headers_of_the_hop_to_the_upstream_end_at_the_gateway(gateway, users):
    users.reset(
        answer(
            "200 OK\r\nConnection: X-Named\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n"
            "Upgrade: h2c\r\nTrailer: X-Sum\r\nServer: secret/1.0\r\nX-Stays: 1"
        )
    )
    reply = gateway.call("GET", "/api/users/1")
    names = [name for name, _ in reply.headers]
    assert not {"x-named", "keep-alive", "proxy-authenticate", "upgrade", "trailer"} & set(names)
    assert reply.header("x-stays") == "1"
    assert reply.header("server") == "gunicorn"
    assert names.count("date") == 1


@pytest.mark.parametrize("header", ["X-Client", "X-Request-Timeout-Ms", "Via", "X-Request-Id", "Traceparent"])
def test_a_client_cannot_strip_what_the_gateway_says_by_naming_it_in_connection(gateway, users, header):
    gateway.call("GET", "/api/users/1", Connection=f"close, {header}")
    assert users.last().header(header.lower())


def test_a_client_is_known_by_its_key_which_goes_no_further(gateway, users):
    gateway.call("GET", "/api/users/1", X_Api_Key="demo", X_Client="admin")
    assert users.last().header("x-client") == "demo"
    assert users.last().header("x-api-key") is None


def test_a_request_without_a_key_is_anonymous_and_cannot_say_otherwise(gateway, users):
    gateway.call("GET", "/api/users/1", X_Client="admin")
    assert users.last().header("x-client") == "anonymous"


def test_a_header_with_an_underscore_cannot_pass_for_one_with_a_hyphen(gateway, users):
    gateway.send(b"GET /api/users/1 HTTP/1.1\r\nHost: x\r\nX_Client: admin\r\nX_Request_Id: forged\r\n\r\n")
    assert users.last().header("x-client") == "anonymous"
    assert users.last().header("x-request-id") != "forged"


def test_an_unknown_key_is_refused_and_not_repeated(gateway, users):
    reply = gateway.call("GET", "/api/users/1", X_Api_Key="guessed-key")
    is_problem(reply, 401)
    assert reply.header("www-authenticate")
    assert b"guessed-key" not in reply.body
    assert users.received == []


def test_the_upstream_is_told_who_asked_and_by_which_way(gateway, users):
    gateway.call("GET", "/api/users/1", X_Forwarded_For="1.2.3.4", Forwarded="for=9.9.9.9", Via="1.0 outer")
    sent = users.last()
    assert sent.header("x-forwarded-for") == "1.2.3.4, 127.0.0.1"
    assert sent.header("forwarded") is None
    assert sent.header("via") == "1.0 outer, 1.1 costlab"
    assert sent.header("host") == users.url.removeprefix("http://")


def test_the_request_id_is_handed_on_and_returned_once(gateway, users):
    users.reset(answer("200 OK\r\nX-Request-Id: theirs"))
    reply = gateway.call("GET", "/api/users/1", X_Request_Id="mine-1")
    assert users.last().header("x-request-id") == "mine-1"
    assert reply.header("x-request-id") == "mine-1"


def test_a_trace_goes_on_with_a_new_span_and_without_the_callers_decision(gateway, users):
    gateway.call("GET", "/api/users/1", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    version, trace, span, flags = users.last().header("traceparent").split("-")
    assert (version, trace, flags) == ("00", "a" * 32, "00")
    assert span != "b" * 16


def test_a_path_in_location_is_one_the_client_can_use(gateway, users):
    users.reset(answer("201 Created\r\nLocation: /users/7"), answer("201 Created\r\nLocation: http://else.where/x"))
    assert gateway.call("POST", "/api/users", b"{}").header("location") == "/api/users/7"
    assert gateway.call("POST", "/api/users", b"{}").header("location") == "http://else.where/x"


# Deadlines


@pytest.mark.parametrize(("given", "most"), [(None, 10_000), ("1500", 1500), ("999999", 30_000), ("9" * 500, 30_000)])
def test_the_remaining_time_is_handed_on_and_has_a_limit(gateway, users, given, most):
    gateway.call("GET", "/api/users/1", **({} if given is None else {"X_Request_Timeout_Ms": given}))
    assert most - 1000 < int(users.last().header("x-request-timeout-ms")) <= most


def test_time_spent_in_the_gateway_is_taken_off(gateway, users):
    """The body arrives late, and what it took is missing from what the upstream is given."""
    with gateway.connect() as link:
        link.sendall(b"POST /api/users HTTP/1.1\r\nHost: x\r\nX-Request-Timeout-Ms: 5000\r\nContent-Length: 2\r\n\r\n{")
        threading.Event().wait(0.3)
        link.sendall(b"}")
        assert read_reply(link).status == 200
    # The gateway's clock starts when it reads the first part, which on a busy machine is a while after it was sent.
    assert int(users.last().header("x-request-timeout-ms")) <= 4900


@pytest.mark.parametrize("given", ["soon", "-1", "1.5", ""])
def test_a_time_limit_that_is_no_number_is_a_bad_request(gateway, users, given):
    is_problem(gateway.call("GET", "/api/users/1", X_Request_Timeout_Ms=given), 400)
    assert users.received == []


def test_a_request_whose_time_is_over_is_not_sent(gateway, users):
    is_problem(gateway.call("GET", "/api/users/1", X_Request_Timeout_Ms="0"), 504)
    assert users.received == []


def test_an_upstream_that_does_not_answer_in_time_is_a_504(gateway, users):
    done = threading.Event()
    users.reset(lambda link: done.wait(20))
    started = time.monotonic()
    is_problem(gateway.call("GET", "/api/users/1", X_Request_Timeout_Ms="200"), 504)
    assert time.monotonic() - started < 3
    done.set()


# Bodies


def test_a_body_arrives_as_it_was_sent(gateway, users):
    body = bytes(range(256)) * 100
    gateway.call("POST", "/api/users", body, Content_Type="application/octet-stream")
    assert users.last().body == body
    assert users.last().header("content-type") == "application/octet-stream"


def test_a_chunked_body_arrives_whole_with_its_length(gateway, users):
    chunks = b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\n"
    head = b"POST /api/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert gateway.send(head + chunks).status == 200
    assert users.last().body == b"abcdefg"
    assert users.last().header("content-length") == "7"
    assert users.last().header("transfer-encoding") is None


def test_a_body_of_exactly_the_limit_passes(gateway, users):
    assert gateway.call("POST", "/api/users", b"x" * MIB).status == 200
    assert len(users.last().body) == MIB


@pytest.mark.parametrize("chunked", [False, True])
def test_a_larger_body_is_too_large_however_it_is_sent(gateway, users, chunked):
    with gateway.connect() as link:
        if chunked:
            link.sendall(b"POST /api/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            link.sendall(b"100001\r\n" + b"x" * (MIB + 1) + b"\r\n0\r\n\r\n")
        else:
            link.sendall(f"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: {MIB + 1}\r\n\r\n".encode())
        is_problem(read_reply(link), 413)
    assert users.received == []


def test_a_body_that_ends_early_is_not_passed_on(gateway, users):
    with gateway.connect() as link:
        link.sendall(b"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        link.shutdown(socket.SHUT_WR)
        is_problem(read_reply(link), 400)
    assert users.received == []


def test_a_body_that_does_not_come_in_time_is_a_408(gateway, users):
    with gateway.connect() as link:
        link.sendall(
            b"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nX-Request-Timeout-Ms: 200\r\n\r\nabc"
        )
        is_problem(read_reply(link), 408)
    assert users.received == []


@pytest.mark.parametrize("framing", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_a_body_that_trickles_cannot_stretch_the_deadline(gateway, users, framing):
    """Each byte comes in time, but the whole does not."""
    with gateway.connect() as link:
        link.sendall(b"POST /api/users HTTP/1.1\r\nHost: x\r\nX-Request-Timeout-Ms: 500\r\n" + framing + b"\r\n\r\n")
        started = time.monotonic()
        while not select.select([link], [], [], 0.05)[0]:
            link.sendall(b"1" if framing.startswith(b"C") else b"1\r\nx\r\n")
        is_problem(read_reply(link), 408)
    assert time.monotonic() - started < 5
    assert users.received == []


@pytest.mark.parametrize("chunks", [b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcdef\r\n0\r\n\r\n"])
def test_chunks_that_are_no_chunks_are_a_bad_request(gateway, users, chunks):
    head = b"POST /api/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    is_problem(gateway.send(head + chunks), 400)
    assert users.received == []


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: +3\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length : 3\r\n",
    ],
)
def test_a_body_framed_in_two_ways_is_refused(gateway, users, framing):
    """Two readers who disagree about where a request ends are how requests are smuggled."""
    reply = gateway.send(b"POST /api/users HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\nabc")
    assert reply.status in (400, 501)
    assert users.received == []


def test_a_client_that_waits_for_100_continue_gets_it(gateway, users):
    with gateway.connect() as link:
        link.sendall(b"POST /api/users HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert link.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.sendall(b"{}")
        assert read_reply(link).status == 200
    assert users.last().header("expect") is None


# Answers


def test_what_the_upstream_answers_is_what_the_client_gets(gateway, users):
    users.reset(answer("418 I'm a Teapot\r\nContent-Type: text/plain", b"short and stout"))
    reply = gateway.call("GET", "/api/users/1")
    assert (reply.status, reply.header("content-type"), reply.body) == (418, "text/plain", b"short and stout")


def test_a_chunked_answer_arrives_whole_with_its_length(gateway, users):
    users.reset(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-trailer: 1\r\n\r\n"
    )
    reply = gateway.call("GET", "/api/users/1")
    assert (reply.body, reply.header("content-length")) == (b"abcde", "5")
    assert reply.header("transfer-encoding") is None


def test_an_answer_to_head_has_the_length_and_no_body(gateway, users):
    users.reset(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n")
    reply = gateway.call("HEAD", "/api/users/1")
    assert (reply.status, reply.header("content-length")) == (200, "99")


def test_with_compression_head_promises_no_length_that_the_get_would_not_have(gateway, users):
    gateway.control.set_flags({"gateway.compress": "gzip"})
    body = b'{"a": 1}' * 500
    users.reset(
        *[answer('200 OK\r\nContent-Type: application/json\r\nETag: "v1"', body)] * 2,
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: "v1"\r\nContent-Length: 4000\r\n\r\n',
        b'HTTP/1.1 304 Not Modified\r\nContent-Type: application/json\r\nETag: "v1"\r\nContent-Length: 4000\r\n\r\n',
    )
    compressed = gateway.call("GET", "/api/users/1", Accept_Encoding="gzip")
    plain = gateway.call("GET", "/api/users/1")
    head = gateway.call("HEAD", "/api/users/1", Accept_Encoding="gzip")
    not_modified = gateway.call("HEAD", "/api/users/1", Accept_Encoding="gzip")
    assert (compressed.header("content-encoding"), plain.header("content-length")) == ("gzip", "4000")
    assert (head.status, head.header("content-length")) == (200, None)
    for name in ("vary", "etag"):
        assert head.header(name) == compressed.header(name)
    assert (not_modified.header("etag"), not_modified.header("vary")) == ('"v1"', None)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_without_a_body_has_no_length(gateway, users, status):
    users.reset(f"HTTP/1.1 {status}\r\n\r\n".encode())
    reply = gateway.call("GET", "/api/users/1")
    assert reply.status == int(status[:3])
    assert reply.header("content-length") is None


def test_interim_answers_are_not_taken_for_the_answer(gateway, users):
    users.reset(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + answer("200 OK", b"ok"))
    assert gateway.call("GET", "/api/users/1").body == b"ok"


def test_an_answer_with_huge_headers_arrives(gateway, users):
    users.reset(answer(f"200 OK\r\nX-Huge: {'x' * 60_000}", b"ok"))
    assert len(gateway.call("GET", "/api/users/1").header("x-huge")) == 60_000


# Upstreams that misbehave


def test_a_get_is_sent_again_when_the_idle_connection_was_closed(gateway, users):
    def answer_and_close(link):
        link.sendall(answer("200 OK", b"ok"))

    users.reset(answer_and_close)
    assert gateway.call("GET", "/api/users/1").body == b"ok"
    assert gateway.call("GET", "/api/users/2").status == 200


def test_a_post_whose_connection_breaks_is_sent_once(gateway, users):
    users.reset(lambda link: None)
    is_problem(gateway.call("POST", "/api/users", b"{}"), 502)
    assert len(users.received) == 1


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: nine\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ],
)
def test_an_answer_that_is_broken_is_a_502(gateway, users, broken):
    users.reset(*[lambda link: link.sendall(broken)] * 3)
    is_problem(gateway.call("POST", "/api/users", b"{}"), 502)


def test_an_upstream_that_resets_the_connection_is_a_502(gateway, users):
    def reset(link):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    users.reset(reset)
    is_problem(gateway.call("POST", "/api/users", b"{}"), 502)


def test_with_the_breaker_on_a_failing_upstream_is_left_alone_and_others_are_not(gateway, orders, users):
    gateway.control.set_flags({"http.breaker": "breaker"})
    orders.reset(*[answer("500 Oops")] * 10)
    statuses = [gateway.call("GET", "/api/orders/1").status for _ in range(5)]
    refused = gateway.call("GET", "/api/orders/1")
    assert statuses == [500] * 5
    is_problem(refused, 503)
    assert int(refused.header("retry-after")) >= 1
    assert len(orders.received) == 5
    assert gateway.call("GET", "/api/users/1").status == 200


# Where reads go


def test_reads_go_through_the_cache_only_when_the_flag_says_so(gateway, users, cache_proxy):
    gateway.call("GET", "/api/users/1?a=b")
    assert (len(users.received), len(cache_proxy.received)) == (1, 0)
    gateway.control.set_flags({"gateway.reads": "cache_proxy"})
    gateway.call("GET", "/api/users/1?a=b")
    assert (len(users.received), len(cache_proxy.received)) == (1, 1)
    assert cache_proxy.last().target == "/users/1?a=b"


def test_writes_never_go_through_the_cache(gateway, users, cache_proxy):
    gateway.control.set_flags({"gateway.reads": "cache_proxy"})
    gateway.call("POST", "/api/users", b"{}")
    assert (len(users.received), len(cache_proxy.received)) == (1, 0)


# Rate limit


def test_a_client_over_its_rate_is_told_when_to_come_back(gateway, users):
    gateway.control.set_flags(
        {
            "gateway.rate_limit": "gcra",
            "gateway.rate_limit_rate": 0.1,
            "gateway.rate_limit_burst": 2,
        }
    )
    replies = [gateway.call("GET", "/api/users/1", X_Api_Key="demo") for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    is_problem(replies[2], 429)
    assert [reply.header("ratelimit") for reply in replies] == ['"gcra";r=1;t=10', '"gcra";r=0;t=20', '"gcra";r=0;t=20']
    assert replies[2].header("ratelimit-policy") == '"gcra";q=2;w=20'
    assert replies[2].header("retry-after") == "10"
    assert len(users.received) == 2
    assert gateway.call("GET", "/api/users/1", X_Api_Key="batch").status == 200
    assert gateway.call("GET", "/api/users/1").status == 200


def test_requests_that_find_no_route_count_too(gateway):
    gateway.control.set_flags(
        {
            "gateway.rate_limit": "gcra",
            "gateway.rate_limit_rate": 0.1,
            "gateway.rate_limit_burst": 1,
        }
    )
    assert gateway.call("GET", "/api/nothing").status == 404
    assert gateway.call("GET", "/api/nothing").status == 429


def test_whatever_becomes_of_a_request_that_counted_its_answer_tells_the_limits(gateway, users):
    gateway.control.set_flags(
        {"gateway.rate_limit": "gcra", "gateway.rate_limit_rate": 0.1, "gateway.rate_limit_burst": 10}
    )
    users.reset(lambda link: None)
    replies = [
        gateway.call("GET", "/api/nothing"),
        gateway.call("DELETE", "/api/users/1"),
        gateway.call("GET", "/api/users/1", X_Request_Timeout_Ms="soon"),
        gateway.call("GET", "/api/users/1", X_Request_Timeout_Ms="0"),
        gateway.send(f"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: {MIB + 1}\r\n\r\n".encode()),
        gateway.call("POST", "/api/users", b"{}"),
    ]
    assert [reply.status for reply in replies] == [404, 405, 400, 504, 413, 502]
    assert [reply.header("ratelimit").split(";")[1] for reply in replies] == [f"r={left}" for left in range(9, 3, -1)]
    assert {reply.header("ratelimit-policy") for reply in replies} == {'"gcra";q=10;w=100'}
    assert replies[1].header("allow") == "GET, HEAD"
    assert gateway.call("GET", "/api/users/1", X_Api_Key="nobody's").header("ratelimit") is None


def test_without_a_limit_nothing_is_said_about_one(gateway):
    assert gateway.call("GET", "/api/users/1").header("ratelimit") is None


# Connections and threads


def test_two_requests_are_answered_at_the_same_time(gateway, users):
    """Each of the two upstream calls ends only once the other has begun."""
    both = threading.Barrier(2, timeout=10)

    def meet(link):
        both.wait()
        link.sendall(answer("200 OK", b"ok"))

    users.reset(meet, meet)
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(gateway.call("GET", "/api/users/1").status)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200, 200]


def test_requests_sent_ahead_on_one_connection_are_answered_in_order(gateway, users):
    users.reset(*[answer("200 OK", str(number).encode()) for number in range(5)])
    with gateway.connect() as link:
        link.sendall(b"".join(f"GET /api/users/{n} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for n in range(5)))
        stream = link.makefile("rb")
        assert [_read_one(stream) for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


def test_many_connections_that_say_nothing_keep_nobody_from_being_answered(gateway):
    idle = [gateway.connect() for _ in range(50)]
    assert gateway.call("GET", "/api/users/1").status == 200
    for link in idle:
        link.close()


def _read_one(stream):
    length = 0
    while (line := stream.readline()) != b"\r\n":
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return stream.read(length)

"""A small threaded HTTP/1.1 server for tests of the load generators: it records, pauses and misbehaves on demand."""

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LOADTESTS = Path(__file__).parents[3] / "loadtests"
BROWSE = LOADTESTS / "traffic" / "browse.json"
CHECKOUT = LOADTESTS / "traffic" / "checkout.json"

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
CONTINUE_THEN_OK = b"HTTP/1.1 100 Continue\r\n\r\n" + OK
FAILING = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
GARBAGE = b"this is not HTTP\r\n\r\n"
HANG_UP = b""


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512


@dataclass
class FakeServer:
    """Sends `answer` `service_seconds` after a request, once `gate` is open; HANG_UP closes the connection instead."""

    answer: bytes = OK
    service_seconds: float = 0.0
    gate: threading.Event = field(default_factory=threading.Event)
    received: list[Received] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.gate.set()

    def pause(self, after: float, seconds: float) -> None:
        """Stop answering `after` seconds from now, for `seconds`."""
        for delay, action in ((after, self.gate.clear), (after + seconds, self.gate.set)):
            timer = threading.Timer(delay, action)
            timer.daemon = True
            timer.start()

    def serve(self, connection: socketserver.StreamRequestHandler) -> None:
        """Answer request after request on one connection."""
        while request := _read(connection.rfile):
            self.received.append(request)
            self.gate.wait(timeout=30)
            threading.Event().wait(self.service_seconds)
            if self.answer == HANG_UP:
                return
            connection.wfile.write(self.answer)
            if self.answer == CLOSING:
                return


def _read(stream) -> Received | None:
    first = stream.readline().decode()
    if not first:
        return None
    method, path, _ = first.split()
    headers: dict[str, str] = {}
    while line := stream.readline().decode().strip():
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return Received(method, path, headers, stream.read(int(headers.get("content-length", 0))).decode())


@contextlib.contextmanager
def fake_server(answer: bytes = OK) -> Iterator[FakeServer]:
    """A running server on a free loopback port."""
    fake = FakeServer(answer)

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # generators hang up in the middle of some tests
                fake.serve(self)

    with _Server(("127.0.0.1", 0), Handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield fake
        fake.gate.set()
        server.shutdown()
        thread.join(timeout=5)

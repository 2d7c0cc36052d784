"""Leader/Followers: threads that wait for requests together, and whoever gets one answers it.

gunicorn's own threaded worker has one thread that waits for requests and hands each to a pool, which hands the
connection back: two hand-overs per request, each waking another thread and passing Python's lock to it. Here every
thread waits on the same epoll set; the kernel wakes one of them (the leader), which reads, answers and puts the
connection back itself, while the others (the followers) go on waiting.

Example: a request that only returns a constant took 213 µs of CPU with the pool and 126 µs so, on the same machine
in the same minute; four services answer a page with a dozen hops between them.

Trade-off: a slow request holds its thread, as in the pool; with all threads busy the next request waits in its
connection. It needs epoll, so elsewhere (macOS) the pool serves.

Use instead: gunicorn's gthread; an event loop when thousands of requests wait at once.

Parsing, the WSGI environment and the answer are gunicorn's. Units: seconds. Source: Schmidt, O'Ryan et al.,
"Leader/Followers" (PLoP 2000).
"""

import contextlib
import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from gunicorn.http import errors, wsgi
from gunicorn.http.body import LengthReader
from gunicorn.http.message import Request
from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import TConn, ThreadWorker

from costlab.service import lifecycle, logs, problem
from costlab.service.shutdown import Leaving

# One event for one thread; the descriptor is silent then, until that thread arms it again.
_ONE_SHOT = select.EPOLLIN | select.EPOLLONESHOT
TICK_SECONDS = 0.5
# As long as a client may take to send the head of a request; for the body a service sets ``receive_by`` itself.
HEAD_SECONDS = 10.0
# Requests a connection may have answered one after the other while others wait for a thread.
IN_A_ROW = 8
# Where a service finds its connection in the WSGI environment.
CONNECTION = "costlab.connection"
STOP_TICK_SECONDS = 0.05
_REFUSED = (
    # Refused on their way out: the service's fault.
    (errors.InvalidResponseHeader, 500),
    (errors.InvalidResponseHeaderName, 500),
    (errors.LimitRequestLine, 414),
    (errors.ExpectationFailed, 417),
    (errors.LimitRequestHeaders, 431),
    (errors.UnsupportedTransferCoding, 501),
    (errors.ParseException, 400),
)


class OneSendResponse(wsgi.Response):
    """gunicorn's response with head and first part sent together: one packet less, and the other side reads once."""

    _head = b""
    begun = False

    def send_headers(self) -> None:
        if not self.headers_sent:
            lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"]
            self._head = "".join(lines).encode("latin-1")
            self.headers_sent = True

    def default_headers(self) -> list[str]:
        major, minor = self.req.version
        return [
            f"HTTP/{major}.{minor} {self.status}\r\nServer: {self.version}\r\nDate: {_date(int(time.time()))}\r\n"
            f"Connection: {'close' if self.should_close() else 'keep-alive'}\r\n",
            "Transfer-Encoding: chunked\r\n" if self.chunked else "",
        ]

    def _emit_body(self, data: bytes) -> None:
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def close(self) -> None:
        self.send_headers()
        self._send(b"0\r\n\r\n" if self.chunked else b"")

    def _send(self, data: bytes) -> None:
        message, self._head = self._head + data, b""
        if message:
            self.begun = True
            self.sock.sendall(message)


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def _respond(response: OneSendResponse, body: Iterable[bytes]) -> None:
    try:
        for part in body:
            response.write(part)
        response.close()
    finally:
        if hasattr(body, "close"):
            body.close()


class Connection(TConn):
    """gunicorn's connection, which can tell whether its next request is there already, and which does not wait for
    ever for a request that has begun: after ``receive_by`` nothing more is read, as if the client had stopped there."""

    receive_by = math.inf

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self._poll = select.poll()
        self._poll.register(self.sock, select.POLLIN)

    def has_data(self) -> bool:
        """Whether something of a request has come. For a thread that does not own the connection."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def has_next(self, others_may_wait: bool) -> bool:
        """Whether the leader goes on with this connection: a client is often faster than the way back into the epoll
        set, which would then wake a second thread while this one is still running. A request that has been read
        already must be answered now, for the epoll set would not tell of it."""
        return bool(self.parser.unreader.buf.getvalue()) or (others_may_wait and bool(self._poll.poll(0)))


class LeaderFollowersWorker(ThreadWorker):
    """gunicorn's threaded worker with its poller, queue and pool replaced by one epoll set."""

    def init_process(self) -> None:
        # gunicorn looks every setting up by a method, a hundred times per request; as attributes they are found first.
        vars(self.cfg).update({name: setting.get() for name, setting in self.cfg.settings.items()})
        self._epoll = select.epoll()
        self._listeners = {listener.fileno(): listener for listener in self.sockets}
        self._connections: set[Connection] = set()
        # Those waiting for a request, by descriptor. Whoever takes one out owns it.
        self._waiting: dict[int, Connection] = {}
        self._accepting = True
        self._full = False
        self._ended = False
        Worker.init_process(self)

    def handle_exit(self, sig, frame) -> None:
        """SIGTERM. The signal also wakes ``run``, through the pipe gunicorn made for it."""
        self.alive = False

    def handle_quit(self, sig, frame) -> None:
        """SIGQUIT and SIGINT: leave at once."""
        Worker.handle_quit(self, sig, frame)

    def handle_error(self, req: Request | None, client: socket.socket, addr: object, exc: Exception) -> None:
        """Answer what never became a request, as every error is answered: with a problem document."""
        status = next((status for kind, status in _REFUSED if isinstance(exc, kind)), 500)
        if status == 500:
            self.log.exception("Error handling request")
        body = problem.body(status, problem.UNEXPECTED if status == 500 else str(exc), {})
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {problem.MEDIA_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        with contextlib.suppress(OSError):  # the client has gone
            client.sendall(head.encode() + body)

    def handle_request(self, req: Request, conn: Connection) -> bool:
        """Answer ``req``; whether the connection can be kept. gunicorn's own, less the hooks and the access log that
        nobody uses here."""
        response, environ = wsgi.create(
            req, conn.sock, conn.client, conn.server, self.cfg, response_class=OneSendResponse
        )
        conn.receive_by = math.inf
        environ["wsgi.multithread"] = True
        environ[CONNECTION] = conn
        self.nr += 1
        if self.nr >= self.max_requests:
            self.alive = False
        if not self.alive or len(self._waiting) >= self.max_keepalived:
            response.force_close()
        try:
            _respond(response, self.wsgi(environ, response.start_response))
        except OSError:  # the client has left, mostly; gunicorn knows which are worth a line
            raise
        except Exception:
            if not response.begun:
                raise
            # Half an answer is out, and another cannot follow it: that the connection ends tells the client.
            self.log.exception("Error in the middle of an answer")
            return False
        return not response.should_close()

    def run(self) -> None:
        """Serve until told to stop, then leave as shutdown.py says."""
        for descriptor, listener in self._listeners.items():
            listener.setblocking(False)
            self._epoll.register(descriptor, _ONE_SHOT)
        for number in range(self.cfg.threads):
            threading.Thread(target=self._follow, name=f"request-{number}", daemon=True).start()
        while self.alive and self.is_parent_alive():
            self._tick(TICK_SECONDS)
            self._expire(time.monotonic())
            self._cut_off(time.monotonic())
        shutdown = lifecycle.leave(self.wsgi)
        self._leave(Leaving(shutdown, time.monotonic(), self.cfg.graceful_timeout))

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Whether ``conn`` can be kept: what the service did not read of a body is read now, if there is any."""
        reader = conn.parser.mesg.body.reader
        if keepalive and isinstance(reader, LengthReader) and reader.length == 0:
            return True
        return super()._keepalive_after(conn, keepalive)

    def _follow(self) -> None:
        """The life of a thread: wait to become the leader, do one piece of work, wait again; nothing ends it early."""
        while not self._ended:
            for descriptor, _ in self._epoll.poll(TICK_SECONDS, 1):
                try:
                    self._lead(descriptor)
                except Exception:
                    self.log.exception("Error outside of a request")

    def _lead(self, descriptor: int) -> None:
        listener = self._listeners.get(descriptor)
        connection = self._waiting.pop(descriptor, None)
        if listener is not None and self._accepting:
            self._accept(descriptor, listener)
        elif connection is not None:
            self._serve(connection)

    def _accept(self, descriptor: int, listener: socket.socket) -> None:
        try:
            link, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another process was faster, or the client went away
            link = None
        except OSError:  # no descriptors left, for instance: do not spin
            if not self._accepting:
                return
            self.log.exception("Cannot accept a connection")
            time.sleep(STOP_TICK_SECONDS)
            link = None
        if link is not None:
            self._welcome(link, address, listener)
        self._full = len(self._connections) >= self.worker_connections
        if self._accepting and not self._full:
            self._epoll.modify(descriptor, _ONE_SHOT)

    def _welcome(self, link: socket.socket, address: object, listener: socket.socket) -> None:
        connection = Connection(self.cfg, link, address, listener.getsockname())
        connection.data_ready = True  # it is served once it can be read, never waited for
        self._connections.add(connection)
        self._await_request(connection, self._epoll.register)

    def _serve(self, connection: Connection) -> None:
        keep, served = True, 0
        while keep:
            connection.receive_by = time.monotonic() + HEAD_SECONDS
            keep = self.handle(connection)
            served += 1
            if keep and not connection.has_next(served < IN_A_ROW):
                break
        if keep:
            self._await_request(connection, self._epoll.modify)
        else:
            self._close(connection)

    def _await_request(self, connection: Connection, arm: Callable[[int, int], None]) -> None:
        connection.timeout = time.monotonic() + self.cfg.keepalive
        descriptor = connection.sock.fileno()
        self._waiting[descriptor] = connection
        arm(descriptor, _ONE_SHOT)

    def _close(self, connection: Connection) -> None:
        self._connections.discard(connection)
        connection.close(graceful=True)
        if self._full and self._accepting:
            self._full = False
            for descriptor in self._listeners:
                self._epoll.modify(descriptor, _ONE_SHOT)

    def _expire(self, now: float) -> None:
        """End connections that have waited too long. A shutdown is an event: the thread that gets it closes."""
        for connection in list(self._waiting.values()):
            if connection.timeout <= now:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _cut_off(self, now: float) -> None:
        """Free the threads that wait for slow clients: a handful of those would otherwise hold all of them."""
        for connection in list(self._connections):
            if connection.receive_by <= now:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RD)

    def _tick(self, seconds: float) -> None:
        """Tell the arbiter that this process lives, and wait; a signal ends the wait."""
        self.notify()
        if select.select([self.PIPE[0]], [], [], seconds)[0]:
            os.read(self.PIPE[0], 4096)

    def _leave(self, leaving: Leaving) -> None:
        """Accept, finish and close for as long as ``leaving`` allows; each answer ends its connection by now."""
        began = time.monotonic()
        while leaving.accepts(time.monotonic()):
            self._tick(STOP_TICK_SECONDS)
            self._cut_off(time.monotonic())
        self._refuse()
        while not leaving.over(time.monotonic(), len(self._connections)):
            if not leaving.keeps_idle(time.monotonic()):
                self._close_idle()
            self._tick(STOP_TICK_SECONDS)
            self._cut_off(time.monotonic())
        self._ended = True
        cut = self._cut()
        logs.get("shutdown").info("shutdown.over", extra={"seconds": round(time.monotonic() - began, 2), "cut": cut})

    def _refuse(self) -> None:
        """Accept nothing new, but for those who have connected already and were not looked at."""
        self._accepting = False
        for descriptor, listener in self._listeners.items():
            with contextlib.suppress(OSError):
                while True:
                    self._welcome(*listener.accept(), listener)
            self._epoll.unregister(descriptor)
            listener.close()

    def _close_idle(self) -> None:
        """End connections on which nothing has come."""
        for connection in list(self._waiting.values()):
            with contextlib.suppress(OSError):  # it has ended in the meantime
                if not connection.has_data():
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _cut(self) -> int:
        """End every connection; on how many a request was under way."""
        under_way = [connection for connection in list(self._connections) if connection not in self._waiting.values()]
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        return len(under_way)

"""The open-model generator's own process: sends given bytes at given times and times the answers.

It is started by file path (see open_model.py) and imports only the standard library and httptools, so it is up in
80 ms and carries no state of the lab. One thread, non-blocking sockets, one keep-alive connection per slot. A
request is due at its planned time whatever became of those before it. If every slot is busy it waits in line, and
its latency still counts from the planned time: a server that stops for a second is charged for every request it
kept waiting, not for the one it was holding (Tene's "coordinated omission"). `timeout` seconds after its planned
time a request that is under way becomes a failure (status 0); one still in line after half of that is dropped.

CPU: 150-500 µs a request. Garbage collection is off while it sends; requests leave about 0.1 ms late (timers and
the interpreter), which their latency includes. It speaks plain HTTP/1.1 and expects answers that
carry their length (Content-Length or chunked); HEAD and TLS are not supported.
"""

import gc
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import httptools

Planned = tuple[float, bytes]  # seconds from the start of the stretch, request as it goes on the wire
Outcome = tuple[int, float, int, int]  # number of the request, latency in seconds, status, bytes received

_LEAD = 0.02  # seconds between the decision to start a stretch and its first planned time


class Slot:
    """One connection that carries one request at a time, kept open between requests."""

    def __init__(self, sender: "Sender") -> None:
        self._sender = sender
        self._socket: socket.socket | None = None
        self._parser: Any = None
        self._unsent = b""
        self._answered = False
        self.request: int | None = None
        self.status = 0
        self.received = 0

    def send(self, request: int, payload: bytes) -> None:
        """Put a request on the wire, connecting first if need be."""
        self.request, self._unsent = request, payload
        self.status, self.received, self._answered = 0, 0, False
        try:
            if self._socket is None:
                self._connect()
            else:
                self._write()
        except OSError:
            self.fail()

    def handle(self, events: int) -> None:
        """React to the selector."""
        try:
            if events & selectors.EVENT_WRITE:
                self._write()
            if events & selectors.EVENT_READ:
                self._read()
        except BlockingIOError:
            return  # the selector spoke too soon
        except (OSError, httptools.HttpParserError):
            self.fail()

    def fail(self) -> None:
        """Close the connection; the request on it, if any, gets status 0."""
        self.close()
        self.status = 0
        if self.request is not None:
            self._sender.finish(self)

    def close(self) -> None:
        if self._socket is not None:
            self._sender.selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    # httptools calls this at the end of each answer.
    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # 1xx only announces the answer proper
            self.status, self._answered = status, True

    def _connect(self) -> None:
        self._socket = socket.socket(self._sender.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = httptools.HttpResponseParser(self)
        self._sender.selector.register(self._socket, selectors.EVENT_WRITE, self.handle)
        self._socket.connect_ex(self._sender.address)  # its outcome shows at the first write

    def _write(self) -> None:
        sent = self._socket.send(self._unsent)
        self._unsent = self._unsent[sent:]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        if self._sender.selector.get_key(self._socket).events != wanted:
            self._sender.selector.modify(self._socket, wanted, self.handle)

    def _read(self) -> None:
        if self._socket is None:  # the write just before has failed
            return
        data = self._socket.recv(65536)
        if not data or self.request is None:  # the server closed, or spoke without being asked
            self.fail()
            return
        self.received += len(data)
        self._parser.feed_data(data)
        if self._answered:
            if not self._parser.should_keep_alive():
                self.close()
            self._sender.finish(self)


class Sender:
    """Sends stretches of planned requests over a bounded number of connections."""

    def __init__(self, family: int, address: tuple, connections: int, timeout: float, control: Connection) -> None:
        self.family, self.address = family, address
        # One system call per wait, precise to microseconds; epoll would wait in whole milliseconds.
        self.selector = selectors.SelectSelector()
        self._timeout = timeout
        self._idle = [Slot(self) for _ in range(connections)]  # a stack: few connections, each in steady use
        self._control = control
        self.selector.register(control, selectors.EVENT_READ, _leave)

    def run(self, plan: list[Planned], report: Callable[[float, dict[str, int]], None]) -> list[Outcome]:
        """Send a stretch; returns once every request is answered, failed or dropped."""
        self._plan = plan
        self._next = 0
        self._waiting: deque[int] = deque()
        self._busy: dict[int, Slot] = {}  # in the order of their planned times
        self._outcomes: list[Outcome] = []
        self._failed = self._dropped = 0
        self._origin = time.perf_counter() + _LEAD
        next_report = 1.0
        while self._next < len(plan) or self._waiting or self._busy:
            self._wait()
            self._admit()
            self._expire()
            if self._elapsed() >= next_report:
                next_report += 1.0
                report(self._elapsed(), self._counters())
        return self._outcomes

    def finish(self, slot: Slot) -> None:
        """Note the outcome of a slot's request and free the slot."""
        request = slot.request
        latency = self._elapsed() - self._plan[request][0]
        self._outcomes.append((request, latency, slot.status, slot.received))
        self._failed += slot.status == 0 or slot.status >= 500
        del self._busy[request]
        slot.request = None
        self._idle.append(slot)

    def _elapsed(self) -> float:
        return time.perf_counter() - self._origin

    def _wait(self) -> None:
        """Sleep until a socket is ready or something is due, then handle what is ready."""
        due = self._plan[self._next][0] if self._next < len(self._plan) else float("inf")
        if self._busy:
            due = min(due, self._plan[next(iter(self._busy))][0] + self._timeout)
        if self._waiting:
            due = min(due, self._plan[self._waiting[0]][0] + self._timeout / 2)
        delay = due - self._elapsed()
        for key, events in self.selector.select(max(0.0, delay)):
            key.data(events)

    def _admit(self) -> None:
        """Queue what is due and give it to free slots, in order."""
        now = self._elapsed()
        while self._next < len(self._plan) and self._plan[self._next][0] <= now:
            self._waiting.append(self._next)
            self._next += 1
        while self._waiting and self._idle:
            request, slot = self._waiting.popleft(), self._idle.pop()
            self._busy[request] = slot
            slot.send(request, self._plan[request][1])

    def _expire(self) -> None:
        now = self._elapsed()
        while self._busy and self._plan[request := next(iter(self._busy))][0] + self._timeout <= now:
            self._busy[request].fail()
        while self._waiting and self._plan[self._waiting[0]][0] + self._timeout / 2 <= now:
            self._waiting.popleft()
            self._dropped += 1

    def _counters(self) -> dict[str, int]:
        return {
            "planned": len(self._plan),
            "answered": len(self._outcomes),
            "failed": self._failed,
            "dropped": self._dropped,
            "in_flight": len(self._busy),
            "waiting": len(self._waiting),
        }


def _leave(_: int) -> None:
    """The lab has closed the control connection or died: nobody wants the rest."""
    sys.exit(0)


def main(control: Connection) -> None:
    """Take a job from the control connection, run it and send the outcomes back."""
    job = control.recv()
    sender = Sender(job["family"], job["address"], job["connections"], job["timeout"], control)
    gc.collect()
    gc.freeze()
    gc.disable()
    sender.run(job["settle"], lambda elapsed, counters: control.send(("settle", elapsed, counters)))
    control.send(("settled",))
    control.recv()  # the lab has read its probes
    cpu = time.process_time()
    started_at = time.time() + _LEAD
    outcomes = sender.run(job["measure"], lambda elapsed, counters: control.send(("measure", elapsed, counters)))
    control.send(("done", started_at, time.process_time() - cpu, outcomes))


if __name__ == "__main__":
    try:
        main(Connection(int(sys.argv[1])))
    except (EOFError, BrokenPipeError):
        _leave(0)

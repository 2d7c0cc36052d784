"""An upstream that does what a test tells it: a real listening socket, one thread per connection."""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tests.services.gateway.message import read_body, read_head

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
# Bytes to answer with, or a callable that gets the connection, after which it is closed.
Action = bytes | Callable[[socket.socket], object]


@dataclass
class Received:
    """One request as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} was sent {len(values)} times: {values}"
        return values[0] if values else None


class Upstream:
    """Answers each request with the next of ``script``, and then with ``OK``."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.reset()
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self, *script: Action) -> None:
        """Forget what was asked; answer with ``script`` from now on."""
        self.received: list[Received] = []
        self._script = list(script)

    def last(self) -> Received:
        assert self.received, "nothing reached the upstream"
        return self.received[-1]

    def close(self) -> None:
        # Closing alone would let a thread that is already waiting accept one more connection.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[link], daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with link, contextlib.suppress(ConnectionError):
            while read := read_head(link):
                start, headers, rest = read
                method, target, _ = start.split(" ")
                self.received.append(Received(method, target, headers, read_body(link, headers, rest)))
                action = self._script.pop(0) if self._script else OK
                if callable(action):
                    action(link)
                    return
                link.sendall(action)

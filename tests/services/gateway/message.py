"""HTTP messages as bytes on a socket, so that tests see what a client sees and send what no client library would."""

import json
import socket
from dataclasses import dataclass


@dataclass
class Reply:
    """An answer. ``headers`` keeps order and repetition; names are lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The one value of a header; None when it is absent. A header that is there twice is a failure."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} is there {len(values)} times: {values}"
        return values[0] if values else None


def read_head(link: socket.socket, data: bytes = b"") -> tuple[str, list[tuple[str, str]], bytes] | None:
    """Start line, headers and what was read beyond them; None when the connection ends before."""
    while b"\r\n\r\n" not in data:
        more = link.recv(65536)
        if not more:
            return None
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return start, [(name.lower(), value.strip()) for name, _, value in pairs], rest


def read_body(link: socket.socket, headers: list[tuple[str, str]], rest: bytes) -> bytes:
    """The body of the length declared."""
    length = int(dict(headers).get("content-length", 0))
    while len(rest) < length:
        more = link.recv(65536)
        assert more, f"the connection ended after {len(rest)} of {length} bytes"
        rest += more
    return rest


def read_reply(link: socket.socket, head: bool = False, data: bytes = b"") -> Reply:
    """One answer."""
    read = read_head(link, data)
    assert read is not None, "the connection was closed without an answer"
    start, headers, rest = read
    status = int(start.split(" ", 2)[1])
    if status < 200:
        return read_reply(link, head, rest)
    return Reply(status, headers, b"" if head or status in (204, 304) else read_body(link, headers, rest))

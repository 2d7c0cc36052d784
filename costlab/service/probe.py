"""The health check of a container without curl: ask the service's own ``/readyz``.

A bare socket and nothing else is imported: this starts anew every few seconds in every container, and its CPU time is
charged to the service. Importing the service kit cost 150 ms a time, ``http.client`` 40, a socket 15.
"""

import os
import socket
import sys


def main() -> int:
    """0 when the service at COSTLAB_INTERNAL_BIND is ready, else 1 with the reason on stderr."""
    port = int(os.environ.get("COSTLAB_INTERNAL_BIND", "127.0.0.1:9000").rpartition(":")[2])
    try:
        answer = _ask(port)
    except OSError as error:
        answer = str(error)
    if answer.startswith("HTTP/1.") and answer.split()[1] == "200":
        return 0
    print(answer.rpartition("\r\n\r\n")[2] or "no answer", file=sys.stderr)  # noqa: T201 - a program's output
    return 1


def _ask(port: int) -> str:
    """The whole answer; in HTTP/1.0 it ends with the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection, connection.makefile("rb") as reader:
        connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        return reader.read().decode()


if __name__ == "__main__":
    raise SystemExit(main())

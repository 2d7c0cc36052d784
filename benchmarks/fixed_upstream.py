"""Answers every request with the same small document: ``python -m benchmarks.fixed_upstream PORT``."""

import socket
import sys
import threading

BODY = b'{"id":7,"name":"Ada","email":"ada@example.com","tier":"free","created_at":"2026-01-01T00:00:00Z"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def serve(link: socket.socket) -> None:
    """Answer on one connection until it is closed. Requests have no body, and come one after another."""
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    with link:
        while data := link.recv(65536):
            received += data
            if received.endswith(b"\r\n\r\n"):
                received = b""
                link.sendall(ANSWER)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

"""A server on loopback that answers what a test wants it to, and a stack that consists of it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def answering(answer: Callable[[str, str], tuple[int, object]], missing: int = 0) -> Iterator[str]:
    """Its URL. ``answer(method, path)`` gives status and document; ``missing`` bytes of each answer never come."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            status, document = answer(self.command, self.path)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) + missing))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PATCH = do_DELETE = do_GET

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class OneService:
    """A stack of one service, users, whose internal port is ``url``, as far as who looks at it from outside needs."""

    def __init__(self, folder: Path, url: str) -> None:
        self.faults_folder = folder
        self._url = url

    def internal_urls(self) -> dict[str, str]:
        return {"users": self._url}

    def token(self) -> str:
        return "secret"

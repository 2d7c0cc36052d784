"""Takes OTLP/HTTP traces, counts them and throws them away: ``python -m benchmarks.otlp_sink PORT``."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Sink(BaseHTTPRequestHandler):
    """``POST`` is swallowed; ``GET`` says how many exports of how many bytes there were."""

    protocol_version = "HTTP/1.1"
    exports = 0
    received = 0

    def do_POST(self) -> None:
        Sink.received += len(self.rfile.read(int(self.headers["Content-Length"])))
        Sink.exports += 1
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(json.dumps({"exports": Sink.exports, "bytes": Sink.received}).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line per export would be noise."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Sink).serve_forever()

"""A collector that stands in for Jaeger: takes spans over OTLP/HTTP in their JSON form, and keeps them."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent; answers ``status``; closes each connection after a request if told to ``hang_up``."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.received = []
        self.status = 200
        self.hang_up = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def trace(self, trace_id):
        """What it was sent of a trace, as OTLP groups it: by resource."""
        return [group for _, _, document in list(self.received) for group in _only(document["resourceSpans"], trace_id)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.close_connection = self.server.hang_up

    def log_message(self, format, *args):
        pass


def _only(groups, trace_id):
    for group in groups:
        spans = [span for scope in group["scopeSpans"] for span in scope["spans"] if span["traceId"] == trace_id]
        if spans:
            yield {"resource": group["resource"], "scopeSpans": [{"spans": spans}]}

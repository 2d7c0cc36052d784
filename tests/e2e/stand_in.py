"""A service that stands in for ours where only its being started, watched and stopped is under test.

python stand_in.py serve      /readyz on the internal port, and its environment at /
python stand_in.py fail       says why and stops
python stand_in.py prepare    writes the token
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(dict(os.environ)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Nothing: the log holds what the service says of itself."""


def serve() -> None:
    print(f"hello from {os.environ['WHO']}", flush=True)  # noqa: T201 - what its log holds
    host, _, port = os.environ["COSTLAB_INTERNAL_BIND"].rpartition(":")
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


def fail() -> None:
    sys.exit("RuntimeError: the flux capacitor is missing")


def hang() -> None:
    signal.pause()


def prepare() -> None:
    Path(os.environ["COSTLAB_TOKEN_FILE"]).write_text("secret\n")


if __name__ == "__main__":
    {"serve": serve, "fail": fail, "hang": hang, "prepare": prepare}[sys.argv[1]]()

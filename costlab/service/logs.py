"""Logs as JSON, one line per event, on standard error: dotted event names, request and trace id, no bodies, no secrets.

    logs.get("relay").info("outbox.published", extra={"rows": 12})

The standard library's logging does it, because gunicorn and every library already speak it. Their lines have the
name of their logger as event, and what they say, which is prose, as message.
"""

import logging
import sys
from datetime import UTC, datetime

import orjson

from costlab.service import context, metrics

_OURS = "costlab."
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object, its bytes counted; ``extra`` members stand beside the standard ones."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
        }
        said = record.getMessage()
        line |= {"event": said} if record.name.startswith(_OURS) else {"event": record.name, "message": said}
        request = context.current()
        if request is not None:
            line |= {"request_id": request.request_id, "trace_id": request.traceparent[3:35]}
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        written = orjson.dumps(line, default=str)
        metrics.LOG_BYTES.inc(len(written) + 1)
        return written.decode()


def configure(service: str, level: str) -> None:
    """Send everything that is logged in this process to standard error as JSON, gunicorn's own lines too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("gunicorn.error", "gunicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True


def get(name: str) -> logging.Logger:
    """The logger of a part of a service."""
    return logging.getLogger(_OURS + name)

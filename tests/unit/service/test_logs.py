"""Log lines are JSON, and their bytes are counted: somebody pays for them."""

import io
import json
import logging

import pytest
from flask import Flask

from costlab.service import logs, metrics, problem


def written_bytes():
    return metrics.REGISTRY.get_sample_value("costlab_log_bytes_total")


@pytest.fixture
def line():
    """``line("costlab.relay", "outbox.published", rows=1)``: what the logger of that name writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter("orders"))

    def one(name, said, *words, **extra):
        logger = logging.Logger(name)
        logger.addHandler(handler)
        stream.truncate(stream.seek(0))
        logger.info(said, *words, extra=extra)
        return stream.getvalue()

    return one


def test_every_byte_of_a_line_is_counted_its_end_included(line):
    before = written_bytes()
    written = line("costlab.relay", "outbox.published", place="Zürich")
    assert json.loads(written)["place"] == "Zürich"
    assert written_bytes() - before == len(written.encode())


def test_an_event_is_a_dotted_name_whoever_writes(line):
    ours = json.loads(line("costlab.relay", "outbox.published", rows=2))
    assert (ours["event"], ours["rows"], "message" in ours) == ("outbox.published", 2, False)
    theirs = json.loads(line("gunicorn.error", "Booting worker with pid: %s", 7))
    assert (theirs["event"], theirs["message"]) == ("gunicorn.error", "Booting worker with pid: 7")


def test_the_event_of_a_bug_is_a_dotted_name_too(caplog):
    app = Flask("users")
    problem.install(app)
    app.add_url_rule("/", view_func=lambda: 1 / 0)
    assert app.test_client().get("/").status_code == 500
    [record] = caplog.records
    assert json.loads(logs.JsonFormatter("users").format(record))["event"] == "request.failed"

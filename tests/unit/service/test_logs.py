"""Log lines are JSON, and their bytes are counted: somebody pays for them."""

import io
import json
import logging

from costlab.service import logs, metrics


def written_bytes():
    return metrics.REGISTRY.get_sample_value("costlab_log_bytes_total")


def test_every_byte_of_a_line_is_counted_its_end_included():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter("orders"))
    logger = logging.Logger("costlab.relay")
    logger.addHandler(handler)
    before = written_bytes()
    logger.info("outbox.published", extra={"place": "Zürich"})
    assert json.loads(stream.getvalue())["place"] == "Zürich"
    assert written_bytes() - before == len(stream.getvalue().encode())

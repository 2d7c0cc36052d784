"""What a scraper is given: in each form it may ask for, what prometheus-client itself would write."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder

from costlab.service import metrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.mark.parametrize(
    "accept",
    ["", "text/plain; version=1.0.0", OPENMETRICS]
    + [f"{OPENMETRICS}; escaping={scheme}" for scheme in ("underscores", "allow-utf-8", "dots", "values")],
)
def test_our_short_cut_past_the_escaping_of_names_changes_no_byte(accept, monkeypatch):
    registry = CollectorRegistry()
    Counter("a_b", 'Said "so".\n', ["c_d"], registry=registry).labels('e\\f"\n.é').inc()
    Histogram("g", "h", ["i"], registry=registry).labels("j").observe(0.3)
    monkeypatch.setattr(metrics, "REGISTRY", registry)
    encode, content_type = choose_encoder(accept)
    assert metrics.render(accept) == (encode(registry), content_type)

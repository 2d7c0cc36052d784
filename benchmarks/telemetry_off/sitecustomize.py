"""Metrics off, for benchmarks/telemetry.py: counters and histograms count nothing. Python imports this by its name.

What is left of them in the services is the call and the look-up of the labels. Gauges stay: they are set about once a
second, and whoever sets a flag waits for one.
"""

import os
import sys
import tempfile

if any(word.endswith("gunicorn") for word in sys.orig_argv):
    # As infra/gunicorn.conf.py does, before prometheus-client is imported.
    folder = os.path.join(tempfile.gettempdir(), f"costlab-{os.getpid()}")
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)

    from prometheus_client import Counter, Histogram

    Counter.inc = lambda self, amount=1, exemplar=None: None
    Histogram.observe = lambda self, amount, exemplar=None: None

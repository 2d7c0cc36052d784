"""Exemplars: for each bucket of the latency histogram the last sampled request in it, so that a point leads to a trace.

    http_server_request_duration_seconds_bucket{...,le="0.25"} 17.0 # {trace_id="4bf9..."} 0.21 1764402245.1

prometheus-client keeps exemplars in one process only. Here each process keeps its own and writes them to a file beside
its metrics, every five seconds at most, when a sampled request or a scrape gives the occasion; a scrape takes the
newest of each bucket over all files. metric_files.py drops the file of a process that has died.

Example: at a sampling of 1/16 and 100 requests a second six note an exemplar, in about 10 microseconds each.
Trade-off: of several processes, the one that answers the scrape knows those of the others up to their last writing.
Source: OpenMetrics 1.0, "Exemplars".
"""

import logging
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from costlab.service import metric_files

WRITE_SECONDS = 5.0  # as often as Prometheus asks
# Label values in the order of the histogram's labels, and the bucket's bound: which bucket of which series.
Bucket = tuple[str, ...]


@dataclass
class Exemplars:
    """Those of one histogram, with these ``labels`` and upper ``bounds`` of its buckets, noted in this process."""

    labels: Sequence[str]
    bounds: Sequence[float]
    _newest: dict[Bucket, tuple[str, float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _written: float = 0.0
    _noted: bool = False

    def note(self, values: tuple[str, ...], seconds: float, trace_id: str) -> None:
        """A sampled request took ``seconds``; ``values`` of the labels."""
        place = bisect_left(self.bounds, seconds)
        bound = floatToGoString(self.bounds[place] if place < len(self.bounds) else float("inf"))
        with self._lock:
            self._newest[(*values, bound)] = (trace_id, seconds, time.time())
            self._noted = True
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Let the other processes of the service see what was noted since the last time."""
        folder = metric_files.folder()
        with self._lock:
            if not self._noted or folder is None:
                return
            self._written, self._noted = time.monotonic(), False
            file = folder / f"exemplars_{os.getpid()}.json"
            fresh = file.with_suffix(".new")
            try:
                fresh.write_bytes(orjson.dumps([(*bucket, *noted) for bucket, noted in self._newest.items()]))
                fresh.replace(file)  # whoever reads sees all of the old file or all of the new one
            except OSError as error:  # a full disk is no reason to withhold an answer
                logging.getLogger("costlab.metrics").warning("exemplars.not_written", extra={"reason": str(error)})

    def newest(self) -> dict[Bucket, Exemplar]:
        """The newest of each bucket over all processes of the service."""
        self.write()
        found: dict[Bucket, Exemplar] = {}
        for *bucket, trace_id, seconds, at in self._of_all_processes():
            known = found.get(tuple(bucket))
            if known is None or known.timestamp < at:
                found[tuple(bucket)] = Exemplar({"trace_id": trace_id}, seconds, at)
        return found

    def _of_all_processes(self) -> Iterator[list]:
        folder = metric_files.folder()
        if folder is None:
            yield from ([*bucket, *noted] for bucket, noted in list(self._newest.items()))
            return
        for file in folder.glob("exemplars_*.json"):
            yield from orjson.loads(file.read_bytes())


@dataclass(frozen=True)
class WithExemplars(Collector):
    """What ``collector`` collects, the buckets of the histogram ``name`` with their exemplars."""

    collector: Collector
    name: str
    exemplars: Exemplars

    def collect(self) -> Iterator[Metric]:
        newest = self.exemplars.newest()
        for metric in self.collector.collect():
            if metric.name == self.name:
                metric.samples = [
                    sample._replace(exemplar=newest.get(self._bucket(sample.labels))) for sample in metric.samples
                ]
            yield metric

    def _bucket(self, labels: Mapping[str, str]) -> Bucket:
        """That of a sample; of one without a bound, a bucket that has no exemplar."""
        return (*(labels[label] for label in self.exemplars.labels), labels.get("le", ""))

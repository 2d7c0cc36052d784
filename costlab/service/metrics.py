"""Every metric of every service, declared once. OpenTelemetry semantic-convention names where one exists.

Labels are bounded: routes (never paths), upstream and service names, and the outcomes listed beside each metric.
Under gunicorn prometheus-client runs in multiprocess mode: each process writes its own files in
PROMETHEUS_MULTIPROC_DIR, and a scrape adds them up (metric_files.py says what becomes of those of the dead).
"""

import json
import struct
import time
from collections.abc import Callable
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics, multiprocess
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics import exposition
from prometheus_client.registry import REGISTRY, Collector

from costlab.service import metric_files
from costlab.service.exemplars import Exemplars, WithExemplars

# What prometheus-client works out anew at every scrape and is the same each time: the JSON with a help text in it under
# which a series is kept, names and values of labels as they are written, bounds of buckets. Remembered is more than a
# service has: labels are bounded.
_remembered = lru_cache(maxsize=8192)
multiprocess.json = SimpleNamespace(loads=_remembered(json.loads))
multiprocess.floatToGoString = _remembered(multiprocess.floatToGoString)
exposition.escape_label_name = _remembered(exposition.escape_label_name)
exposition._escape = _remembered(exposition._escape)

# Nobody asks when a series began, and the files of several processes do not tell.
disable_created_metrics()

# A loopback hop takes about a millisecond and a deadline ten seconds; the buckets cover both ends.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SHORT_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)
# Steps of a half and less, so that twice as slow is another bucket.
_FINE_SECONDS = tuple(
    float(step * unit) / 1000 for unit in (1, 10, 100, 1000) for step in (1, 1.5, 2, 3, 4, 6, 8) if step * unit <= 6000
)

_READ_ATTEMPTS, _READ_PAUSE_SECONDS = 50, 0.002

# Served requests
REQUEST_SECONDS = Histogram(
    "http_server_request_duration_seconds",
    "Time to answer a request.",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=_SECONDS,
)
REQUEST_EXEMPLARS = Exemplars(REQUEST_SECONDS._labelnames, _SECONDS)
RESPONSE_BYTES = Counter("http_server_response_body_bytes", "Bytes of response bodies sent.", ["http_route"])

# Calls to other services
CLIENT_SECONDS = Histogram(
    "http_client_request_duration_seconds",
    "Time a call to an upstream took. outcome: ok, error (5xx), timeout, unreachable, refused (breaker, throttle).",
    ["upstream", "outcome"],
    buckets=_SECONDS,
)
CONNECTIONS_OPENED = Counter(
    "costlab_connections_opened", "Connections opened. peer: an upstream's name or postgres.", ["peer"]
)
CONNECTION_WAIT_SECONDS = Histogram(
    "costlab_connection_wait_seconds",
    "Time a request waited for a pooled connection.",
    ["peer"],
    buckets=_SHORT_SECONDS,
)
BREAKER_OPENED = Counter("costlab_breaker_opened", "Times the circuit to an upstream opened.", ["upstream"])
BREAKER_REFUSED = Counter("costlab_breaker_refused", "Calls an open circuit refused.", ["upstream"])
THROTTLE_REFUSED = Counter("costlab_throttle_refused", "Calls the client throttle refused.", ["upstream"])
RETRIES = Counter(
    "costlab_retries",
    "Failed calls while http.retry is on, by what followed. outcome: retried, or what forbade it: attempts (all made), "
    "deadline (too near), budget (used up).",
    ["upstream", "outcome"],
)
REPLICA_REQUESTS = Counter(
    "costlab_replica_requests",
    "Requests sent to an upstream that has several replicas. replica: its number, from 1; outcome: ok, error (5xx), "
    "timeout, unreachable.",
    ["upstream", "replica", "outcome"],
)
REPLICA_FAILOVERS = Counter(
    "costlab_replica_failovers", "Requests sent to another replica because one could not be reached.", ["upstream"]
)
REPLICA_EJECTIONS = Counter(
    "costlab_replica_ejections", "Times a replica was left out because it kept failing.", ["upstream", "replica"]
)
REPLICAS_EJECTED = Gauge(
    "costlab_replicas_ejected",
    "Replicas that are left out now, in the process that leaves out most; looked at every second.",
    ["upstream"],
    multiprocess_mode="livemax",
)

# PostgreSQL
DB_QUERIES = Counter(
    "costlab_db_queries", "Statements sent to PostgreSQL, without transaction control and readiness probes."
)

# Flags
FLAGS_REVISION = Gauge(
    "costlab_flags_revision",
    "The lowest flag revision applied by any live process of the service.",
    # Without a label the gunicorn master, which applies no flags, would count as a process at revision 0.
    ["service"],
    multiprocess_mode="livemin",
)
FLAG_PENDING = Gauge(
    "costlab_flag_pending",
    "1 while any process is still at work on a change of a flag that takes work, such as building an index.",
    ["flag"],
    multiprocess_mode="livemax",
)

# Configuration documents
CONFIG_REVISION = Gauge(
    "costlab_config_revision",
    "The revision of the configuration document that each live process runs with; 0: nobody has changed it.",
    ["service"],
    multiprocess_mode="liveall",
)
CONFIG_DOCUMENTS = Counter(
    "costlab_config_documents",
    "Configuration documents looked at. outcome: taken (in force in a process), refused (by a process, which keeps the "
    "last good one), turned_away (at the internal port).",
    ["outcome"],
)

# Rollouts
ROLLOUT_SECONDS = Histogram(
    "costlab_rollout_duration_seconds",
    "Time to serve what a flag decides per user. group: canary, baseline, rest; all while nothing is rolled out (and "
    "the flag is not at its default). outcome: ok, error.",
    ["flag", "value", "group", "outcome"],
    buckets=_FINE_SECONDS,
)
ROLLOUT_MISMATCHES = Counter(
    "costlab_rollout_mismatches", "Answers of a canary that differ from those of the first version.", ["flag", "value"]
)

# Faults
FAULTS_REVISION = Gauge(
    "costlab_faults_revision",
    "The lowest revision of the faults that any live process of the service has in force.",
    ["service"],
    multiprocess_mode="livemin",
)
FAULTS_ACTIVE = Gauge(
    "costlab_faults_active",
    "Faults that are active in a process of the service, and at the gateway those made outside of all services. "
    "target: on whom; edge: what the calls that meet it go to, empty otherwise.",
    ["fault", "target", "edge"],
    multiprocess_mode="livemax",
)
FAULTS_INJECTED = Counter(
    "costlab_faults_injected", "Requests and calls that a fault has met. edge: as above.", ["fault", "edge"]
)

# Tracing
SPANS_STARTED = Counter("costlab_spans_started", "Spans recorded because their trace is sampled.")
SPANS_DROPPED = Counter("costlab_spans_dropped", "Spans the collector did not take.")
SPAN_BYTES = Counter("costlab_span_bytes", "Bytes of spans the collector took, as sent.")

# Logs
LOG_BYTES = Counter("costlab_log_bytes", "Bytes of log lines written.")

# Gateway
RATE_LIMIT_DECISIONS = Counter(
    "costlab_rate_limit_decisions",
    "Requests the rate limiter decided on. outcome: admitted, refused; while Redis is away: unlimited (let through), "
    "unavailable (503).",
    ["outcome"],
)
SHED_REQUESTS = Counter(
    "costlab_shed_requests",
    "Requests load shedding decided on. policy: fixed, gradient2, codel, adaptive_lifo; outcome: admitted, shed (503).",
    ["policy", "outcome"],
)
SHED_QUEUE_SECONDS = Histogram(
    "costlab_shed_queue_seconds",
    "Time a request waited in the gateway for room, admitted or shed in the end (codel, adaptive_lifo).",
    buckets=_SHORT_SECONDS,
)
SHED_LIMIT = Gauge(
    "costlab_shed_limit",
    "Requests that may be under way at once, all processes together; 0 while nothing is shed.",
    multiprocess_mode="livesum",
)
HEDGES = Counter(
    "costlab_hedges",
    "Requests that were late while hedging is on. outcome: sent (a second time), won (by the second), capped (not sent "
    "again: too many were), busy (no thread free).",
    ["upstream", "outcome"],
)
GOODPUT = Counter("costlab_goodput", "Requests answered 2xx within their deadline while load shedding is on.")
COMPRESS_BYTES = Counter(
    "costlab_compress_bytes",
    "Bytes of answers the gateway compressed. coding: gzip, zstd; side: before, after.",
    ["coding", "side"],
)
COMPRESS_CPU_SECONDS = Counter(
    "costlab_compress_cpu_seconds", "CPU time the gateway spent on compressing. coding: gzip, zstd.", ["coding"]
)

# Cache-proxy
CACHE_REQUESTS = Counter(
    "costlab_cache_requests",
    "GETs through the cache-proxy. outcome: hit, miss (the origin was asked), coalesced (answered by somebody else's "
    "miss), bypass (off, or not cacheable), error (Redis away).",
    ["outcome"],
)
CACHE_STALE_SERVED = Counter("costlab_cache_stale_served", "Hits that were served after their time, on purpose.")
CACHE_LEASE_WAITS = Counter("costlab_cache_lease_waits", "GETs that waited for whoever held the lease on their key.")
CACHE_EARLY_RECOMPUTATIONS = Counter(
    "costlab_cache_early_recomputations", "Misses made by chance, before their answer had expired (xfetch)."
)
CACHE_REFRESHES = Counter(
    "costlab_cache_refreshes", "Calls to an origin behind a stale answer (stale_while_revalidate)."
)
CACHE_NEGATIVE_HITS = Counter("costlab_cache_negative_hits", "GETs answered with a 404 from the cache.")
CACHE_EVICTED = Gauge(
    "costlab_cache_evicted_keys",
    "Keys Redis has given up for lack of memory since it started.",
    # Known to the one process that keeps the policy.
    multiprocess_mode="livemostrecent",
)
CACHE_INVALIDATIONS = Counter("costlab_cache_invalidations", "Cached answers dropped because the origin changed.")

# Orders and worker
ORDERS_PLACED = Counter(
    "costlab_orders_placed", "Orders written. outcome: created, replayed (same key again).", ["outcome"]
)
STOCK_ATTEMPTS = Counter(
    "costlab_stock_attempts",
    "Attempts to change the stock of a product. outcome: written, conflict (somebody else wrote first).",
    ["outcome"],
)
OUTBOX_PUBLISHED = Counter("costlab_outbox_published", "Outbox rows handed to the job stream.")
JOBS = Counter(
    "costlab_jobs",
    "Jobs taken off the stream. outcome: done, duplicate (effect was there), failed (will be tried again), dead.",
    ["outcome"],
)
JOB_SECONDS = Histogram("costlab_job_duration_seconds", "Time to process a job.", buckets=_SECONDS)
JOBS_CLAIMED = Counter("costlab_jobs_claimed", "Jobs taken over from a consumer that died or left.")
STREAM_BACKLOG = Gauge(
    "costlab_stream_backlog",
    "Entries of the job stream that are not done: waiting or in work.",
    ["stream"],
    multiprocess_mode="livemostrecent",
)

ORDER_PAGES = Counter(
    "costlab_order_pages",
    "Pages of order histories. paging: offset, keyset; queries: n_plus_one, join, batch; heads, where nobody asked for "
    "lines.",
    ["paging", "queries"],
)
JSON_WRITTEN = Counter("costlab_json_written", "Answers of orders written by a JSON codec.", ["codec"])
SERIES_SECONDS = Histogram(
    "costlab_series_duration_seconds",
    "Time to compute the figures of a series, from bytes to answer. layout: list, array, numpy.",
    ["layout"],
    buckets=_SECONDS,
)
DUAL_WRITES = Counter(
    "costlab_dual_writes", "Messages added to the stream after the commit. outcome: published, lost.", ["outcome"]
)
IDEMPOTENCY_KEYS_IGNORED = Counter(
    "costlab_idempotency_keys_ignored", "Orders placed without regard to their key, because keys are switched off."
)
CATALOGUE_PROCESSES = Gauge(
    "costlab_catalogue_processes",
    "Processes of orders that answer from a catalogue of this memory layout.",
    ["layout"],
    multiprocess_mode="livesum",
)
ORDERS_INDEX = Gauge(
    "costlab_orders_index",
    "1 while the index of order histories is there and valid.",
    multiprocess_mode="livemostrecent",
)

# Worker: pools, batches, writes
JOBS_READ = Histogram(
    "costlab_jobs_read", "Entries one read of the job stream brought.", buckets=(1, 2, 5, 10, 20, 50, 100)
)
JOB_BATCH = Histogram(
    "costlab_job_batch_size", "Jobs committed in one transaction.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
JOBS_FLUSHED = Counter(
    "costlab_jobs_flushed",
    "Jobs whose commit did not wait for the disk; a flush barrier did, before they were acknowledged.",
)
WORKER_CONSUMERS = Gauge(
    "costlab_worker_consumers",
    "Consumers that run. pool: serial, threads, processes.",
    ["pool"],
    multiprocess_mode="livesum",
)
POOL_SWITCHES = Counter("costlab_worker_pool_switches", "Times one pool of consumers was drained for another.")
CONSUMERS_REPLACED = Counter("costlab_consumers_replaced", "Consumer processes started in place of one that died.")

# Profiling
REQUESTS_PROFILED = Counter("costlab_requests_profiled", "Requests whose every call was timed (profiling=cprofile).")

# Readiness
READINESS = Counter(
    "costlab_readiness_answers",
    "Answers to /readyz. probe: shallow, deep, deep_fail_open; outcome: ready, unready, failed_open (ready in spite of "
    "a dependency).",
    ["probe", "outcome"],
)
CHECK_SECONDS = Histogram("costlab_check_duration_seconds", "Time a readiness check took.", ["check"], buckets=_SECONDS)

# Slot pool
SLOTS_IN_USE = Gauge("costlab_slots_in_use", "Slots of the slot pool that are held.", multiprocess_mode="livesum")
SLOT_WAIT_SECONDS = Histogram(
    "costlab_slot_wait_seconds", "Time a request waited for the slot it got.", buckets=_SECONDS
)
SLOTS_REFUSED = Counter("costlab_slots_refused", "Requests that got no slot before their deadline.")

# What the service uses (process_usage.py), read by the process that answers a scrape for all of them
CPU_SECONDS = Gauge(
    "process_cpu_time_seconds",
    "CPU time of all processes of the service since it started, user and system; it only rises.",
    multiprocess_mode="livemostrecent",
)
MEMORY_BYTES = Gauge(
    "process_memory_usage_bytes",
    "Memory of all processes of the service, as PSS; looked at every 30 seconds.",
    multiprocess_mode="livemostrecent",
)

# Experiments
BLOCK = Gauge(
    "costlab_block",
    "The round of the experiment's block that is under load now, in the variant; 0: no block of it is.",
    ["experiment", "variant"],
    multiprocess_mode="livemostrecent",
)

# Worker processes
FROZEN_OBJECTS = Gauge(
    "costlab_gc_frozen_objects",
    "Objects loaded before the worker process was forked that its garbage collector leaves alone.",
    multiprocess_mode="livemax",
)


def render(accept: str = "") -> tuple[bytes, str]:
    """All metrics of the service, over all its processes, and their content type.

    ``accept`` is the header of whoever asks: OpenMetrics, which alone has exemplars, for those who name it, and the
    Prometheus text format for all others.
    """
    encode, content_type = choose_encoder(accept)
    if not content_type.endswith(("escaping=dots", "escaping=values")):
        # Names of metrics here need no escaping. Looked at letter by letter, in each sample, they took half the time.
        encode = partial(encode, escaping=exposition.ALLOWUTF8)
    collector: Collector = REGISTRY
    if metric_files.folder() is not None:
        collector = multiprocess.MultiProcessCollector(None)
    if content_type.startswith("application/openmetrics-text"):
        collector = WithExemplars(collector, REQUEST_SECONDS._name, REQUEST_EXEMPLARS)
    for _ in range(_READ_ATTEMPTS):
        try:
            return _encoded(encode, collector), content_type
        except struct.error:  # a process that starts has made its file and not yet written the first bytes
            time.sleep(_READ_PAUSE_SECONDS)
    return _encoded(encode, collector), content_type


def _encoded(encode: Callable[[Collector], bytes], collector: Collector) -> bytes:
    with metric_files.reading():
        return encode(collector)


def live_minimum(name: str, service: str) -> float:
    """The lowest value of a livemin gauge over the live processes of ``service``; 0 before any has set it."""
    folder = metric_files.folder()
    if folder is None:
        samples = [sample for family in REGISTRY.collect() if family.name == name for sample in family.samples]
    else:
        files = [str(file) for file in folder.glob("gauge_livemin_*.db")]
        merged = multiprocess.MultiProcessCollector.merge(files)
        samples = [sample for family in merged if family.name == name for sample in family.samples]
    return min((sample.value for sample in samples if sample.labels["service"] == service), default=0)


class Children:
    """The children of a labelled metric, looked up in a dict: a third of the cost of ``metric.labels(...)``.

    >>> requests = Children(CACHE_REQUESTS)
    >>> requests["hit",].inc()
    """

    def __init__(self, metric: MetricWrapperBase) -> None:
        self._labels: Callable[..., Any] = metric.labels
        self._children: dict[tuple[str, ...], Any] = {}

    def __getitem__(self, labels: tuple[str, ...]) -> Any:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._labels(*labels)
        return child

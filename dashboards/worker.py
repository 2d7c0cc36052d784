"""Worker: jobs from the stream to their effect, and the consumers that do them."""

from dashboards.grafana import Dashboard, Row, graph, number, quantile, rate

DASHBOARD = Dashboard(
    "worker",
    "6 Worker",
    "Jobs from the stream to their effect, exactly once.",
    [
        Row(
            "Does it keep up?",
            [
                number(
                    "Jobs that wait",
                    "Entries of the job stream that are not done: waiting or in work.",
                    "short",
                    ("max by (stream) (costlab_stream_backlog)", "{{stream}}"),
                    steps=[(100, "yellow"), (1000, "red")],
                ),
                number(
                    "Dead jobs",
                    "Jobs given up in the last ten minutes; they lie in the stream orders:dead.",
                    "short",
                    ('sum(increase(costlab_jobs_total{outcome="dead"}[10m])) or vector(0)', "dead"),
                    steps=[(1, "red")],
                ),
                number(
                    "Consumers",
                    "Consumers that run, by kind of pool (flags worker.pool, worker.size).",
                    "short",
                    ("sum by (pool) (costlab_worker_consumers) > 0", "{{pool}}"),
                ),
            ],
        ),
        Row(
            "Jobs",
            [
                graph(
                    "Placed, published, done",
                    "Orders written, messages handed to the stream, jobs done. The three lie on each other when all "
                    "is well.",
                    "ops",
                    (rate("costlab_orders_placed_total", where='outcome="created"'), "orders placed"),
                    (rate("costlab_outbox_published_total"), "published by the outbox"),
                    (rate("costlab_jobs_total", where='outcome="done"'), "jobs done"),
                ),
                graph(
                    "Jobs by outcome",
                    "done; duplicate: its effect was there already; failed: will be tried again; dead: given up.",
                    "ops",
                    (rate("costlab_jobs_total", "outcome"), "{{outcome}}"),
                ),
                graph(
                    "Time of a job",
                    "From its start to its commit.",
                    "s",
                    (quantile(0.5, "costlab_job_duration_seconds"), "p50"),
                    (quantile(0.95, "costlab_job_duration_seconds"), "p95"),
                    (quantile(0.99, "costlab_job_duration_seconds"), "p99"),
                ),
                graph(
                    "Jobs that wait",
                    "Entries of the job stream that are not done.",
                    "short",
                    ("max by (stream) (costlab_stream_backlog)", "{{stream}}"),
                ),
                graph(
                    "Jobs per read and per transaction",
                    "Means. Flags worker.prefetch and worker.batch allow more; a quiet stream gives one at a time.",
                    "short",
                    (f"{rate('costlab_jobs_read_sum')} / {rate('costlab_jobs_read_count')}", "per read"),
                    (
                        f"{rate('costlab_job_batch_size_sum')} / {rate('costlab_job_batch_size_count')}",
                        "per transaction",
                    ),
                ),
                graph(
                    "Lost between commit and stream",
                    "Messages added after the commit (orders.publish=dual_write), and those of them that were lost.",
                    "ops",
                    (rate("costlab_dual_writes_total", "outcome"), "{{outcome}}"),
                ),
            ],
        ),
        Row(
            "Consumers",
            [
                graph(
                    "Taken over and replaced",
                    "Jobs claimed from a consumer that died or left; consumer processes started in place of dead ones; "
                    "pools drained for another kind.",
                    "ops",
                    (rate("costlab_jobs_claimed_total"), "jobs claimed"),
                    (rate("costlab_consumers_replaced_total"), "consumers replaced"),
                    (rate("costlab_worker_pool_switches_total"), "pools switched"),
                ),
                graph(
                    "Commits behind a flush barrier",
                    "Jobs whose commit did not wait for the disk (worker.synchronous_commit=off).",
                    "ops",
                    (rate("costlab_jobs_flushed_total"), "jobs"),
                ),
                graph(
                    "CPU",
                    "Cores the worker uses.",
                    "short",
                    ('sum(rate(process_cpu_time_seconds{service="worker"}[$__rate_interval]))', "worker"),
                ),
            ],
        ),
    ],
)

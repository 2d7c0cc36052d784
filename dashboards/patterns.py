"""Patterns: what each mechanism is doing now. A panel that shows nothing belongs to one that is off."""

from dashboards.grafana import Dashboard, Row, graph, quantile, rate

_ROLLOUT = "costlab_rollout_duration_seconds"

DASHBOARD = Dashboard(
    "patterns",
    "2 Patterns",
    "What each mechanism is doing now; where nothing is shown, it is off (`costlab flags list`).",
    [
        Row(
            "Letting in: the gateway's door",
            [
                graph(
                    "Rate limiter",
                    "Decisions per second (gateway.rate_limit): admitted, refused (429); while Redis is away: "
                    "unlimited, unavailable.",
                    "reqps",
                    (rate("costlab_rate_limit_decisions_total", "outcome"), "{{outcome}}"),
                    stacked=True,
                ),
                graph(
                    "Load shedding",
                    "Decisions per second (gateway.shed); goodput is what was answered 2xx within its deadline.",
                    "reqps",
                    (rate("costlab_shed_requests_total", "policy, outcome"), "{{policy}}: {{outcome}}"),
                    (rate("costlab_goodput_total"), "goodput"),
                ),
                graph(
                    "Concurrency limit",
                    "Requests that may be under way at once; gradient2 moves it, 0 while nothing is shed.",
                    "short",
                    ("sum(costlab_shed_limit)", "limit"),
                ),
                graph(
                    "Queue before the gateway",
                    "95th percentile of the time a request waited for room (codel, adaptive_lifo).",
                    "s",
                    (quantile(0.95, "costlab_shed_queue_seconds"), "p95"),
                ),
                graph(
                    "Slot pools",
                    "95th percentile of the wait for a slot (users.slots, orders.slots).",
                    "s",
                    (quantile(0.95, "costlab_slot_wait_seconds", "service"), "{{service}}"),
                ),
                graph(
                    "Slots refused",
                    "Requests per second that got no slot before their deadline; and slots that are held.",
                    "short",
                    (rate("costlab_slots_refused_total", "service"), "{{service}}: refused per second"),
                    ("sum by (service) (costlab_slots_in_use)", "{{service}}: in use"),
                ),
            ],
        ),
        Row(
            "Choosing: replicas and hedges",
            [
                graph(
                    "Balancer",
                    "Requests per second to each replica (gateway.balancer); an even spread is not always the best.",
                    "reqps",
                    (rate("costlab_replica_requests_total", "upstream, replica"), "{{upstream}} {{replica}}"),
                    stacked=True,
                ),
                graph(
                    "Replicas that failed",
                    "Requests per second that met an error, a timeout or nobody, by replica.",
                    "reqps",
                    (
                        "sum by (upstream, replica, outcome) "
                        '(rate(costlab_replica_requests_total{outcome!="ok"}[$__rate_interval]))',
                        "{{upstream}} {{replica}}: {{outcome}}",
                    ),
                ),
                graph(
                    "Ejections",
                    "Replicas left out now, how often that happened, and requests that went to another one "
                    "(http.ejection).",
                    "short",
                    ("max by (upstream) (costlab_replicas_ejected)", "{{upstream}}: left out"),
                    (
                        rate("costlab_replica_ejections_total", "upstream, replica"),
                        "{{upstream}} {{replica}}: per second",
                    ),
                    (rate("costlab_replica_failovers_total", "upstream"), "{{upstream}}: failovers per second"),
                ),
                graph(
                    "Hedges",
                    "Late requests per second (gateway.hedge): sent a second time, won by the second, capped, busy.",
                    "reqps",
                    (rate("costlab_hedges_total", "upstream, outcome"), "{{upstream}}: {{outcome}}"),
                ),
                graph(
                    "Rollout: latency",
                    "95th percentile of what a flag decides per user, canary beside baseline (`costlab rollout`).",
                    "s",
                    (quantile(0.95, _ROLLOUT, "flag, value, group"), "{{flag}}={{value}} {{group}}"),
                ),
                graph(
                    "Rollout: outcome",
                    "Requests per second by version and group, and answers of a canary that differ from version one's.",
                    "reqps",
                    (rate(f"{_ROLLOUT}_count", "value, group, outcome"), "{{value}} {{group}}: {{outcome}}"),
                    (rate("costlab_rollout_mismatches_total", "value"), "{{value}}: mismatches"),
                ),
            ],
        ),
        Row(
            "Failing: calls to upstreams",
            [
                graph(
                    "Calls by outcome",
                    "Calls per second from service to upstream.",
                    "reqps",
                    (
                        rate("http_client_request_duration_seconds_count", "service, upstream, outcome"),
                        "{{service}} to {{upstream}}: {{outcome}}",
                    ),
                ),
                graph(
                    "Retries",
                    "Failed calls by what followed (http.retry): retried, or why not: attempts, deadline, budget.",
                    "reqps",
                    (
                        rate("costlab_retries_total", "service, upstream, outcome"),
                        "{{service}} to {{upstream}}: {{outcome}}",
                    ),
                ),
                graph(
                    "Circuit breaker",
                    "Calls refused per second while a circuit is open, and how often one opened (http.breaker).",
                    "reqps",
                    (
                        rate("costlab_breaker_refused_total", "service, upstream"),
                        "{{service}} to {{upstream}}: refused",
                    ),
                    (rate("costlab_breaker_opened_total", "service, upstream"), "{{service}} to {{upstream}}: opened"),
                ),
                graph(
                    "Client throttle",
                    "Calls a client refused itself because too few were accepted (http.breaker=client_throttle).",
                    "reqps",
                    (rate("costlab_throttle_refused_total", "service, upstream"), "{{service}} to {{upstream}}"),
                ),
                graph(
                    "Faults met",
                    "Requests and calls per second that a fault made on purpose has met.",
                    "reqps",
                    (rate("costlab_faults_injected_total", "service, fault, edge"), "{{service}}: {{fault}} {{edge}}"),
                ),
                graph(
                    "Readiness",
                    "Answers to /readyz by probe and outcome (service.probe); failed_open is ready in spite of a "
                    "dependency.",
                    "reqps",
                    (
                        rate("costlab_readiness_answers_total", "service, probe, outcome"),
                        "{{service}} {{probe}}: {{outcome}}",
                    ),
                ),
            ],
        ),
        Row(
            "Remembering and saving",
            [
                graph(
                    "Cache",
                    "GETs through the cache-proxy per second (gateway.reads, cache.strategy).",
                    "reqps",
                    (rate("costlab_cache_requests_total", "outcome"), "{{outcome}}"),
                    stacked=True,
                ),
                graph(
                    "Cache: beside the plain hit",
                    "Served stale on purpose, waited for a lease, recomputed early, refreshed behind an answer, 404 "
                    "from the cache.",
                    "reqps",
                    (rate("costlab_cache_stale_served_total"), "stale"),
                    (rate("costlab_cache_lease_waits_total"), "lease waits"),
                    (rate("costlab_cache_early_recomputations_total"), "early recomputations"),
                    (rate("costlab_cache_refreshes_total"), "refreshes"),
                    (rate("costlab_cache_negative_hits_total"), "negative hits"),
                ),
                graph(
                    "Pools",
                    "95th percentile of the wait for a pooled connection (db.pool, http.pool_size).",
                    "s",
                    (quantile(0.95, "costlab_connection_wait_seconds", "service, peer"), "{{service}} to {{peer}}"),
                ),
                graph(
                    "Compression",
                    "Bytes of answers per second before and after (gateway.compress).",
                    "Bps",
                    (rate("costlab_compress_bytes_total", "coding, side"), "{{coding}} {{side}}"),
                ),
                graph(
                    "Orders",
                    "Written, replayed by their idempotency key (orders.idempotency), or with the key ignored.",
                    "reqps",
                    (rate("costlab_orders_placed_total", "outcome"), "{{outcome}}"),
                    (rate("costlab_idempotency_keys_ignored_total"), "key ignored"),
                ),
                graph(
                    "Flags and configuration",
                    "Revisions in force, the lowest of any process; where services differ, one is late.",
                    "short",
                    ("min by (service) (costlab_flags_revision)", "flags, {{service}}"),
                    ("min by (service) (costlab_config_revision)", "configuration, {{service}}"),
                ),
            ],
        ),
    ],
)

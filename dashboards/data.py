"""Data: PostgreSQL, Redis and the waits for them, as the services see them."""

from dashboards.grafana import USERS, Dashboard, Row, graph, quantile, rate

_REQUESTS = rate("http_server_request_duration_seconds_count", where=USERS)

DASHBOARD = Dashboard(
    "data",
    "5 Data",
    "PostgreSQL, Redis, the job stream and the waits for them, as the services see them.",
    [
        Row(
            "PostgreSQL",
            [
                graph(
                    "Statements",
                    "Sent per second and service, without transaction control and readiness probes.",
                    "ops",
                    (rate("costlab_db_queries_total", "service"), "{{service}}"),
                    stacked=True,
                ),
                graph(
                    "Statements per request of a user",
                    "Over all services. N+1 queries, a missing cache and background work all show here.",
                    "short",
                    (f"{rate('costlab_db_queries_total')} / {_REQUESTS}", "statements"),
                ),
                graph(
                    "Waiting for a pooled connection",
                    "95th percentile, PostgreSQL and upstreams; db.pool and http.pool_size set how many there are.",
                    "s",
                    (quantile(0.95, "costlab_connection_wait_seconds", "service, peer"), "{{service}} to {{peer}}"),
                ),
                graph(
                    "Connections opened",
                    "Per second. Above zero all the time: something is not pooled (db.pool, http.reuse) or breaks.",
                    "ops",
                    (rate("costlab_connections_opened_total", "service, peer"), "{{service}} to {{peer}}"),
                ),
                graph(
                    "Pages of order histories",
                    "By how they are paged and how their lines are fetched (orders.paging, orders.queries).",
                    "ops",
                    (rate("costlab_order_pages_total", "paging, queries"), "{{paging}}, {{queries}}"),
                ),
                graph(
                    "Writes to a contended row",
                    "Attempts to change the stock of a product; a conflict means somebody else wrote first "
                    "(orders.contention).",
                    "ops",
                    (rate("costlab_stock_attempts_total", "outcome"), "{{outcome}}"),
                ),
            ],
        ),
        Row(
            "Redis",
            [
                graph(
                    "GETs through the cache",
                    "hit, miss, coalesced (somebody else's miss), bypass (off or not cacheable), error (Redis away).",
                    "ops",
                    (rate("costlab_cache_requests_total", "outcome"), "{{outcome}}"),
                    stacked=True,
                ),
                graph(
                    "Hit ratio",
                    "Hits of what could have been one (bypass not counted).",
                    "percentunit",
                    (
                        rate("costlab_cache_requests_total", where='outcome="hit"')
                        + " / "
                        + rate("costlab_cache_requests_total", where='outcome!="bypass"'),
                        "hits",
                    ),
                ),
                graph(
                    "Keys evicted and invalidated",
                    "Evicted for lack of memory (cache.maxmemory_mb); dropped because the origin changed.",
                    "ops",
                    ("sum(rate(costlab_cache_evicted_keys[$__rate_interval]))", "evicted"),
                    (rate("costlab_cache_invalidations_total"), "invalidated"),
                ),
                graph(
                    "Stream lag",
                    "Entries of the job stream that are not done: waiting or in work.",
                    "short",
                    ("max by (stream) (costlab_stream_backlog)", "{{stream}}"),
                ),
                graph(
                    "Rate limits without Redis",
                    "Decisions of the limiter; unlimited and unavailable are those it made while Redis was away.",
                    "ops",
                    (rate("costlab_rate_limit_decisions_total", "outcome"), "{{outcome}}"),
                ),
                graph(
                    "Readiness checks",
                    "95th percentile of the time each check takes; a dependency that is slow is slow here first.",
                    "s",
                    (quantile(0.95, "costlab_check_duration_seconds", "service, check"), "{{service}}: {{check}}"),
                ),
            ],
        ),
    ],
)

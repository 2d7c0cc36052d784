"""Experiment: the variants of a run under one clock, with what was broken on purpose."""

from dashboards.grafana import FAULTS, PROMETHEUS, USERS, Dashboard, Row, graph, number, quantile, rate

_SECONDS = "http_server_request_duration_seconds"
_REQUESTS = rate(f"{_SECONDS}_count", where=USERS)
BLOCKS = {
    "name": "blocks",
    "datasource": PROMETHEUS,
    "enable": True,
    "iconColor": "blue",
    "expr": "max by (experiment, variant) (costlab_block) > 0",
    "step": "1s",
    "titleFormat": "{{variant}}",
    "textFormat": "{{experiment}}",
}

DASHBOARD = Dashboard(
    "experiment",
    "4 Experiment",
    "A run of `costlab run DAY`: blue stretches are blocks, named by their variant; red ones are faults. For looking "
    "only: the verdict comes from the lab's own measurements.",
    [
        Row(
            "Now",
            [
                number(
                    "Under load",
                    "The round of the block that runs; nothing while no experiment does.",
                    "short",
                    ("max by (experiment, variant) (costlab_block) > 0", "{{experiment}}: {{variant}}"),
                    base="blue",
                ),
                number(
                    "Requests per second",
                    "Of users, answered by the gateway.",
                    "reqps",
                    (_REQUESTS, "requests"),
                    base="blue",
                ),
                number(
                    "Faults",
                    "Active ones.",
                    "short",
                    ("sum(max by (target, fault, edge) (costlab_faults_active)) or vector(0)", "active"),
                    base="blue",
                ),
            ],
        ),
        Row(
            "What the variant changes",
            [
                graph(
                    "Latency",
                    "Of answers to users at the gateway. The lab measures from the planned send time: it is stricter.",
                    "s",
                    (quantile(0.5, _SECONDS, where=USERS), "p50"),
                    (quantile(0.95, _SECONDS, where=USERS), "p95"),
                    (quantile(0.99, _SECONDS, where=USERS), "p99"),
                ),
                graph(
                    "Statements per request",
                    "Sent to PostgreSQL, by service, per request of a user.",
                    "short",
                    (
                        f"sum by (service) (rate(costlab_db_queries_total[$__rate_interval])) / ignoring (service) "
                        f"group_left () {_REQUESTS}",
                        "{{service}}",
                    ),
                    stacked=True,
                ),
                graph(
                    "CPU per request",
                    "Of each service, per request of a user; PostgreSQL and Redis are in the lab's figures only.",
                    "s",
                    (
                        f"sum by (service) (rate(process_cpu_time_seconds[$__rate_interval])) / ignoring (service) "
                        f"group_left () {_REQUESTS}",
                        "{{service}}",
                    ),
                    stacked=True,
                ),
                graph(
                    "Memory",
                    "PSS of each service, all its instances together, looked at every 30 seconds: for so long a block "
                    "may still show what the variant before it used, and a short block nothing else. The lab reads it "
                    "at the end of each block.",
                    "bytes",
                    ("sum by (service) (process_memory_usage_bytes)", "{{service}}"),
                    stacked=True,
                ),
                graph(
                    "Rate and errors",
                    "Requests of users answered, and those answered 5xx.",
                    "reqps",
                    (_REQUESTS, "all"),
                    (f"sum(service_route:http_server_errors:rate1m{{{USERS}}})", "5xx"),
                ),
                graph(
                    "Cache",
                    "GETs through the cache-proxy by outcome.",
                    "reqps",
                    (rate("costlab_cache_requests_total", "outcome"), "{{outcome}}"),
                    stacked=True,
                ),
            ],
        ),
        Row(
            "As the load generator sees it, where k6 writes to Prometheus",
            [
                graph(
                    "Rate: k6 and gateway",
                    "Requests k6 sent and the gateway answered. Where they part, requests are dropped, cut off, or "
                    "somebody else's.",
                    "reqps",
                    ("sum(rate(k6_http_reqs_total[$__rate_interval]))", "k6"),
                    (_REQUESTS, "gateway"),
                ),
                graph(
                    "p95: k6 and gateway",
                    "k6 counts each kind of request from its own start, so its curve smooths; the slowest kind is "
                    "shown. It measures at the client, waiting for a connection left out.",
                    "s",
                    ("max(k6_http_req_duration_p95)", "k6, slowest kind"),
                    (quantile(0.95, _SECONDS, where=USERS), "gateway, all"),
                ),
            ],
            across=2,
        ),
    ],
    annotations=(BLOCKS, FAULTS),
)

"""Overview: what hurts, from the top down. Users first, then services, then what is running out."""

from dashboards.grafana import USERS, Dashboard, Row, graph, number, quantile, rate, worst

_SECONDS = "http_server_request_duration_seconds"
_CALLS = "http_client_request_duration_seconds"
# A container that is gone has no address in DNS, and so no "up" that could be 0.
_KNOWN = 'max_over_time(count by (service) (up{job="costlab"})[15m:15s])'
_UP = 'count by (service) (up{job="costlab"} == 1)'

DASHBOARD = Dashboard(
    "overview",
    "1 Overview",
    "What hurts now: read from the top down.",
    [
        Row(
            "Does it hurt?",
            [
                number(
                    "Alerts",
                    "Alerts that fire now. Any: look at the burn rate beside this, then at the rows below.",
                    "short",
                    ('count(ALERTS{alertstate="firing"}) or vector(0)', "firing"),
                    steps=[(1, "red")],
                ),
                number(
                    "Burn rate, 5 minutes",
                    "How fast the error budget is spent; at 1 a month's budget lasts a month, at 14.4 two days. "
                    "Availability: 99.9 % without a 5xx. Latency: 95 % within 250 ms.",
                    "short",
                    ("slo:burn_rate:5m", "{{slo}}"),
                    steps=[(1, "yellow"), (6, "orange"), (14.4, "red")],
                ),
                number(
                    "Error budget left, 3 days",
                    "Of what may go wrong in the three days that lie behind; below 0 it is overspent.",
                    "percentunit",
                    ("slo:budget_left:3d", "{{slo}}"),
                    steps=[(0, "yellow"), (0.25, "green")],
                    base="red",
                ),
                number(
                    "Instances away",
                    "Instances that do not answer Prometheus, of the most that each service had within 15 minutes.",
                    "short",
                    (f"sum({_KNOWN} - ({_UP} or 0 * {_KNOWN})) or vector(0)", "away"),
                    steps=[(1, "red")],
                ),
                number(
                    "Faults made on purpose",
                    "Faults that are active; `costlab chaos status` names them, `costlab chaos clear` ends them.",
                    "short",
                    ("sum(max by (target, fault, edge) (costlab_faults_active)) or vector(0)", "active"),
                    steps=[(1, "purple")],
                ),
                number(
                    "Requests per second",
                    "What the gateway answers users now; health probes are left out.",
                    "reqps",
                    (f"sum(service_route:http_server_requests:rate1m{{{USERS}}})", "requests"),
                ),
            ],
            across=6,
        ),
        Row(
            "What users get, per route of the gateway",
            [
                graph(
                    "Rate",
                    "Answered requests per second; a drop to nothing is as bad as errors. /livez and /readyz are "
                    "health probes: a route each, and part of no figure of all routes or burn rate.",
                    "reqps",
                    ('service_route:http_server_requests:rate1m{service="gateway"}', "{{http_route}}"),
                ),
                graph(
                    "Errors",
                    "Answers 5xx per second. Refusals on purpose (429) are not errors, shed requests (503) are.",
                    "reqps",
                    ('service_route:http_server_errors:rate1m{service="gateway"}', "{{http_route}}"),
                ),
                graph(
                    "95th percentile of latency",
                    "Time to answer, as the gateway sees it; the objective is 250 ms.",
                    "s",
                    (
                        'service_route:http_server_request_duration_seconds:p95_1m{service="gateway"}',
                        "{{http_route}}",
                    ),
                ),
                graph(
                    "Burn rate",
                    "The same error budget over windows from five minutes to three days; pages at 14.4 (1 h) and 6 "
                    "(6 h), a ticket at 1 (3 d), each while the short window agrees.",
                    "short",
                    ("slo:burn_rate:5m", "{{slo}} 5 m"),
                    ("slo:burn_rate:30m", "{{slo}} 30 m"),
                    ("slo:burn_rate:1h", "{{slo}} 1 h"),
                    ("slo:burn_rate:6h", "{{slo}} 6 h"),
                    ("slo:burn_rate:3d", "{{slo}} 3 d"),
                ),
                graph(
                    "Answers by status",
                    "Of the gateway to users: 429 is the rate limiter, 503 shedding or a breaker, 504 a deadline.",
                    "reqps",
                    (
                        rate(f"{_SECONDS}_count", "http_response_status_code", where=USERS),
                        "{{http_response_status_code}}",
                    ),
                    stacked=True,
                ),
                graph(
                    "Latency of all routes",
                    "Median, 95th and 99th percentile of the gateway, health probes left out. A tail far above the "
                    "median: look for waits.",
                    "s",
                    (quantile(0.5, _SECONDS, where=USERS), "p50"),
                    (quantile(0.95, _SECONDS, where=USERS), "p95"),
                    (quantile(0.99, _SECONDS, where=USERS), "p99"),
                ),
            ],
        ),
        Row(
            "Which service is it?",
            [
                graph(
                    "Rate per service and route",
                    "Requests each service answers; more than the gateway's means fan-out, retries or hedges.",
                    "reqps",
                    ('service_route:http_server_requests:rate1m{service!="gateway"}', "{{service}} {{http_route}}"),
                ),
                graph(
                    "Errors per service and route",
                    "Answers 5xx per second, behind the gateway. The service deepest in the chain is where to begin.",
                    "reqps",
                    ('service_route:http_server_errors:rate1m{service!="gateway"}', "{{service}} {{http_route}}"),
                ),
                graph(
                    "95th percentile per service and route",
                    "Time each service takes; compare with what its callers see in the next row.",
                    "s",
                    (
                        'service_route:http_server_request_duration_seconds:p95_1m{service!="gateway"}',
                        "{{service}} {{http_route}}",
                    ),
                ),
                graph(
                    "Calls that failed, by caller",
                    "Outcome of calls to upstreams other than ok: error (5xx), timeout, unreachable, refused. Nothing "
                    "to show while all calls succeed.",
                    "reqps",
                    (
                        "sum by (service, upstream, outcome) "
                        f'(rate({_CALLS}_count{{outcome!="ok"}}[$__rate_interval]))',
                        "{{service}} to {{upstream}}: {{outcome}}",
                    ),
                ),
                graph(
                    "95th percentile of calls, by caller",
                    "Time a call took for the caller. Above what the callee says: the wait is in between.",
                    "s",
                    (quantile(0.95, _CALLS, "service, upstream"), "{{service}} to {{upstream}}"),
                ),
                worst(
                    "Busiest now",
                    "CPU of each service, in cores; at the number of its processes a Python service is full.",
                    "short",
                    ("sum by (service) (rate(process_cpu_time_seconds[$__rate_interval]))", "{{service}}"),
                ),
            ],
        ),
        Row(
            "What is running out?",
            [
                graph(
                    "CPU",
                    "Cores each service uses, all its instances and processes together.",
                    "short",
                    ("sum by (service) (rate(process_cpu_time_seconds[$__rate_interval]))", "{{service}}"),
                    stacked=True,
                ),
                graph(
                    "Memory",
                    "PSS of each service, all its instances together: a page shared by n processes counts once.",
                    "bytes",
                    ("sum by (service) (process_memory_usage_bytes)", "{{service}}"),
                    stacked=True,
                ),
                graph(
                    "Waiting for a pooled connection",
                    "95th percentile of the wait. Above a few milliseconds the pool is too small or what is behind it "
                    "too slow.",
                    "s",
                    (quantile(0.95, "costlab_connection_wait_seconds", "service, peer"), "{{service}} to {{peer}}"),
                ),
                graph(
                    "Slots in use",
                    "Of slot pools (flags users.slots and orders.slots).",
                    "short",
                    ("sum by (service) (costlab_slots_in_use)", "{{service}}"),
                ),
                graph(
                    "Jobs that wait",
                    "Entries of the job stream that are not done; rising all the time: the worker does not keep up.",
                    "short",
                    ("max by (stream) (costlab_stream_backlog)", "{{stream}}"),
                ),
                graph(
                    "Statements to PostgreSQL",
                    "Per second and service.",
                    "ops",
                    (rate("costlab_db_queries_total", "service"), "{{service}}"),
                ),
            ],
        ),
    ],
)

"""Cost: USD per month at 10,000 users a day, from what the stack uses now. Rules: dashboards/prices.py."""

from costlab.lab.price_sheet import load_assumptions, sheet_names
from dashboards.grafana import Dashboard, Row, graph, number, worst

_USD = 'cost:usd_per_month:5m{sheet="$sheet"}'
# No service can tell what PostgreSQL uses, so the rules price what is assumed of it.
_POSTGRES = (
    f"Of PostgreSQL there is no CPU, and memory of {load_assumptions().database_memory_gib:g} GiB as assumed "
    "(infra/prices/assumptions.toml); the bill of `costlab run` has both as measured."
)
_KINDS = f"As on an invoice. {_POSTGRES}"

DASHBOARD = Dashboard(
    "cost",
    "3 Cost",
    "USD per month at 10,000 users a day with 100 requests each, from what requests use now (five minutes) and the "
    f"price sheet. `costlab run` measures it properly. {_POSTGRES}",
    [
        Row(
            "Per month",
            [
                number(
                    "USD per month",
                    f"All rows below together, shown while requests are answered. {_POSTGRES} This is above that bill "
                    "by what PostgreSQL leaves of that memory, and below it by its CPU.",
                    "currencyUSD",
                    (f"sum({_USD})", "all"),
                ),
                number(
                    "Of it before the first request",
                    f"Memory, disk, cache node, load balancer: what is paid when nobody comes. {_POSTGRES}",
                    "currencyUSD",
                    ('sum(cost:usd_per_month:5m{sheet="$sheet",kind=~"memory|database|redis|load balancer"})', "idle"),
                ),
                number(
                    "Successful requests per second",
                    "Of users, health probes left out. What the use is divided by; a handful gives figures that jump.",
                    "reqps",
                    ("cost:requests:rate5m", "requests"),
                ),
            ],
        ),
        Row(
            "Where it goes",
            [
                worst(
                    "By service",
                    f"Everything a service causes. {_POSTGRES}",
                    "currencyUSD",
                    (f"sum by (service) ({_USD})", "{{service}}"),
                ),
                worst("By kind", _KINDS, "currencyUSD", (f"sum by (kind) ({_USD})", "{{kind}}")),
            ],
            across=2,
        ),
        Row(
            "Over time",
            [
                graph("By kind", _KINDS, "currencyUSD", (f"sum by (kind) ({_USD})", "{{kind}}"), stacked=True),
                graph(
                    "CPU by service",
                    "CPU bought for the peak at the utilisation assumed (infra/prices/assumptions.toml).",
                    "currencyUSD",
                    ('sum by (service) (cost:usd_per_month:5m{sheet="$sheet",kind="cpu"})', "{{service}}"),
                    stacked=True,
                ),
                graph(
                    "Memory by service",
                    "As it stands, of one instance or more. PostgreSQL and Redis are not among them.",
                    "currencyUSD",
                    ('sum by (service) (cost:usd_per_month:5m{sheet="$sheet",kind="memory"})', "{{service}}"),
                    stacked=True,
                ),
                graph(
                    "CPU per successful request",
                    "Background work included; it weighs more, the fewer requests there are.",
                    "s",
                    ("cost:cpu_seconds_per_request:5m", "{{service}}"),
                    stacked=True,
                ),
                graph(
                    "Bytes per successful request",
                    "Bodies sent to users, spans sent to the collector, log lines written.",
                    "bytes",
                    ("cost:body_bytes_per_request:5m", "to users"),
                    ("cost:span_bytes_per_request:5m", "spans, {{service}}"),
                    ("cost:log_bytes_per_request:5m", "logs, {{service}}"),
                ),
                graph(
                    "Per sheet",
                    "The same use at every price sheet in infra/prices.",
                    "currencyUSD",
                    ("sum by (sheet) (cost:usd_per_month:5m)", "{{sheet}}"),
                ),
            ],
        ),
    ],
    variables={"sheet": sheet_names()},
)

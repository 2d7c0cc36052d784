"""The rules behind the cost dashboard: infra/prometheus/rules/cost.yml, worked out by costlab.lab.pricing.

A bill is linear in what a request uses, but for the gigabytes of egress that are free. So the price of one unit (a CPU
second per request, a GiB of memory, a byte per request) is the difference of two bills by the lab's own arithmetic,
and a rule multiplies what is measured by it. Written by `make dashboards`; a test keeps it equal to the sheets.
"""

from collections.abc import Iterator
from dataclasses import replace

from costlab.lab.price_sheet import Assumptions, Sheet, load_assumptions, load_sheet, sheet_names
from costlab.lab.pricing import Measured, quantities, total
from dashboards.grafana import FOLDER, USERS

FILE = FOLDER.parent / "infra" / "prometheus" / "rules" / "cost.yml"
_HEAD = f"""\
# Written by `make dashboards` from infra/prices (dashboards/prices.py); do not edit.
# What a successful request uses now, times what one unit of it costs per month at the traffic the assumptions say.
groups:
  - name: cost
    rules:
      - record: cost:requests:rate5m
        expr: >-
          sum(rate(http_server_request_duration_seconds_count{{{USERS},http_response_status_code=~"[23].."}}[5m]))
          > 0
"""
_PER_REQUEST = {
    "cost:cpu_seconds_per_request:5m": "sum by (service) (rate(process_cpu_time_seconds[5m]))",
    "cost:body_bytes_per_request:5m": f"sum(rate(http_server_response_body_bytes_total{{{USERS}}}[5m]))",
    "cost:span_bytes_per_request:5m": "sum by (service) (rate(costlab_span_bytes_total[5m]))",
    "cost:log_bytes_per_request:5m": "sum by (service) (rate(costlab_log_bytes_total[5m]))",
}
NOTHING = Measured(
    cpu_seconds={},
    memory_gib=0.0,
    database_cpu_seconds=0.0,
    bytes=0.0,
    spans=0.0,
    redis=False,
    span_bytes=0.0,
    log_bytes=0.0,
)


def text() -> str:
    """The whole file."""
    rules = [_HEAD]
    for record, used in _PER_REQUEST.items():
        rules.append(_rule(record, f"{used} / scalar(cost:requests:rate5m)", {}))
    given = load_assumptions()
    for name in sheet_names():
        for kind, service, expression in prices(load_sheet(name), given):
            labels = {"sheet": name, "kind": kind} | ({"service": service} if service else {})
            rules.append(_rule("cost:usd_per_month:5m", expression, labels))
    return "".join(rules)


def prices(sheet: Sheet, given: Assumptions) -> Iterator[tuple[str, str, str]]:
    """Kind, service (empty: as measured) and PromQL of USD per month, for each part of a bill."""
    nothing = quantities(NOTHING, given)
    per_byte = quantities(replace(NOTHING, bytes=1.0), given)

    def cost(row: str) -> float:
        """Of what is paid for when nothing is used."""
        return nothing[row][2] * getattr(sheet.rows, row).price

    def unit(**used: object) -> float:
        """Of one unit used."""
        return float(total(replace(NOTHING, **used), sheet, given) - total(NOTHING, sheet, given))

    egress, lcu = sheet.rows.egress_gb.price, sheet.rows.load_balancer_lcu_hour.price
    yield "cpu", "", f"cost:cpu_seconds_per_request:5m * {unit(cpu_seconds={'any': 1.0}):.10g}"
    yield "memory", "", f"sum by (service) (process_memory_usage_bytes) / 2^30 * {unit(memory_gib=1.0):.10g}"
    yield "database", "postgres", f"vector({cost('database_gib_hour') + cost('database_ssd_gib_month'):.10g})"
    used = 'sum(rate(costlab_cache_requests_total{outcome!="bypass"}[5m])) > bool 0'
    yield "redis", "redis", f"(({used}) or vector(0)) * {unit(redis=True):.10g}"
    yield "load balancer", "load-balancer", f"vector({cost('load_balancer_hour'):.10g})"
    yield (
        "load balancer, work",
        "load-balancer",
        f"cost:body_bytes_per_request:5m * {per_byte['load_balancer_lcu_hour'][2] * lcu:.10g}",
    )
    yield (
        "egress",
        "gateway",
        f"clamp_min(cost:body_bytes_per_request:5m * {per_byte['egress_gb'][1]:.10g} - {given.free_egress_gb:.10g}, 0)"
        f" * {egress:.10g}",
    )
    yield "traces", "", f"cost:span_bytes_per_request:5m * {unit(span_bytes=1.0):.10g}"
    yield "logs", "", f"cost:log_bytes_per_request:5m * {unit(log_bytes=1.0):.10g}"


def _rule(record: str, expression: str, labels: dict[str, str]) -> str:
    lines = [f"      - record: {record}\n", f"        expr: {expression}\n"]
    if labels:
        said = ", ".join(f"{name}: {value!r}".replace("'", '"') for name, value in labels.items())
        lines.append(f"        labels: {{{said}}}\n")
    return "".join(lines)

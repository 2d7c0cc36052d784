"""A stored bill, worked out again from its result file with nothing but the file and the formulas of a person.

Nothing of the lab is used for the arithmetic: plain JSON in, sums out.
"""

import json
import math
from collections import defaultdict
from pathlib import Path

import pytest

from costlab.lab import result
from costlab.lab.catalogue import ROOT
from costlab.lab.conclusion import conclude
from tests.unit.lab import synthetic

STORED = sorted((ROOT / "benchmarks").glob("[0-9][0-9]-*/*.json"))


def fresh(folder: Path) -> Path:
    """A result with spans and logs in it, as a run would store it."""
    counters = {
        'gateway costlab_spans_started_total{kind="server"}': 2000.0,
        "gateway costlab_span_bytes_total": 700_000.0,
        "gateway costlab_log_bytes_total": 150_000.0,
    }
    blocks = synthetic.rounds(
        4,
        off={"cpu_ms": lambda i: 3.0 + 0.1 * i, "failed": 100},
        ttl={"cpu_ms": lambda i: 2.0 + 0.2 * i, "counters": counters, "failed": 100},
    )
    path = folder / "result.json"
    result.save(synthetic.result(blocks, conclude(synthetic.day_11(), blocks, 7, quick=True)), path)
    return path


def counted(document: dict) -> dict[str, list[dict]]:
    """The blocks of each variant that count: not repeated, of complete rounds."""
    own = defaultdict(dict)
    for block in document["blocks"]:
        if not block["repeated"]:
            own[block["round"]][block["variant"]] = block
    whole = [one for _, one in sorted(own.items()) if len(one) == len(document["experiment"]["variants"])]
    return {name: [one[name] for one in whole] for name in document["experiment"]["variants"]}


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def succeeded(block: dict) -> int:
    return sum(count for status, count in block["statuses"].items() if 200 <= int(status) < 400)


def rose(block: dict, name: str) -> float:
    return sum(v for key, v in block["counters"].items() if key.split(" ")[1].split("{")[0] == name)


def by_hand(document: dict, name: str) -> dict[str, float]:
    """USD per month of each row of one variant."""
    bill, blocks = document["conclusion"]["bill"], counted(document)[name]
    given, prices = bill["assumptions"], {key: row and row["price"] for key, row in bill["sheet"]["rows"].items()}
    absent = document["experiment"]["variants"][name]["without"]
    not_ours = {"postgres", "redis", *absent}
    ours = [service for service in blocks[0]["cpu_seconds"] if service not in not_ours]
    measured_memory = "memory of PostgreSQL" not in (bill.get("assumed") or ["memory of PostgreSQL"])
    measured_spans = "bytes of a span" not in (bill.get("assumed") or ["bytes of a span"])

    requests = given["daily_users"] * given["requests_per_user"] * 30.4
    peak = given["daily_users"] * given["requests_per_user"] / 86_400 * given["peak_factor"]
    cpu = sum(mean(b["cpu_seconds"].get(service, 0.0) / succeeded(b) for b in blocks) for service in ours)
    gib = mean(sum(v for k, v in b["memory_bytes"].items() if k not in not_ours) for b in blocks) / 2**30
    database = mean(b["cpu_seconds"].get("postgres", 0.0) / succeeded(b) for b in blocks)
    database_gib = mean(b["memory_bytes"]["postgres"] for b in blocks) / 2**30
    gigabytes = requests * mean(b["bytes"] / succeeded(b) for b in blocks) / 1e9
    span_bytes = mean(rose(b, "costlab_span_bytes_total") / succeeded(b) for b in blocks)
    if not measured_spans:
        span_bytes = given["span_bytes"] * mean(rose(b, "costlab_spans_started_total") / succeeded(b) for b in blocks)
    log_bytes = mean(rose(b, "costlab_log_bytes_total") / succeeded(b) for b in blocks)
    return {
        "CPU of our services": peak * cpu / given["utilisation"] * 730 * prices["vcpu_hour"],
        "memory of our services": gib * given["replicas"] * 730 * prices["memory_gib_hour"],
        "CPU of PostgreSQL": peak * database / given["database_utilisation"] * 730 * prices["database_vcpu_hour"],
        "memory of PostgreSQL": (database_gib if measured_memory else given["database_memory_gib"])
        * 730
        * prices["database_gib_hour"],
        "disk of PostgreSQL": given["database_ssd_gib"] * prices["database_ssd_gib_month"],
        "cache node": 0.0 if "redis" in absent else given["redis_nodes"] * 730 * prices["redis_node_hour"],
        "bytes to users": max(0.0, gigabytes - given["free_egress_gb"]) * prices["egress_gb"],
        "load balancer": 730 * prices["load_balancer_hour"],
        # An LCU-hour is a gigabyte; a month of 730 hours holds 730/729.6 of 30.4 days.
        "load balancer, work": gigabytes * 730 / (30.4 * 24) * prices["load_balancer_lcu_hour"],
        "traces": requests * span_bytes / 1e9 * prices["traces_gb"],
        "logs": requests * log_bytes / 1e9 * (prices.get("logs_gb") or 0.0),
    }


@pytest.fixture(params=[None, *STORED], ids=lambda path: path.parent.name if path else "fresh")
def document(request, tmp_path):
    return json.loads((request.param or fresh(tmp_path)).read_text())


def test_every_row_and_the_total_of_every_variant(document):
    for name, variant in document["conclusion"]["bill"]["variants"].items():
        expected = {row: usd for row, usd in by_hand(document, name).items() if usd}
        stored = {row["ChargeDescription"]: row["EffectiveCost"] for row in variant["rows"] if row["EffectiveCost"]}
        assert stored == pytest.approx(expected, rel=1e-9)
        assert variant["usd"] == pytest.approx(sum(expected.values()), rel=1e-9)


def test_a_row_costs_its_quantity_times_its_price(document):
    for variant in document["conclusion"]["bill"]["variants"].values():
        for row in variant["rows"]:
            assert row["ListCost"] == pytest.approx(row["PricingQuantity"] * row["ListUnitPrice"], rel=1e-12)
            assert row["ConsumedUnit"] == row["PricingUnit"]


def test_differences_are_those_of_the_totals_and_lie_in_their_interval(document):
    bill = document["conclusion"]["bill"]
    base = bill["variants"][document["experiment"]["baseline"]]["usd"]
    for name, difference in bill["differences"].items():
        assert difference["usd"] == pytest.approx(bill["variants"][name]["usd"] - base, rel=1e-9)
        assert difference["low"] <= difference["usd"] <= difference["high"]


def test_steps_of_a_quarter_vcpu_are_bought_per_service(document):
    bill = document["conclusion"]["bill"]
    given = bill["assumptions"]
    peak = given["daily_users"] * given["requests_per_user"] / 86_400 * given["peak_factor"]
    for name, variant in bill["variants"].items():
        absent = document["experiment"]["variants"][name]["without"]
        blocks = counted(document)[name]
        extra = 0.0
        for service in blocks[0]["cpu_seconds"]:
            if service not in ("postgres", "redis", *absent):
                needed = peak * mean(b["cpu_seconds"][service] / succeeded(b) for b in blocks) / given["utilisation"]
                extra += max(1, math.ceil(needed / 0.25)) * 0.25 - needed
        price = bill["sheet"]["rows"]["vcpu_hour"]["price"]
        assert variant["in_steps_usd"] == pytest.approx(variant["usd"] + extra * 730 * price, rel=1e-9)


def test_at_the_break_even_both_variants_cost_the_same(document):
    bill = document["conclusion"]["bill"]
    baseline = document["experiment"]["baseline"]
    for name, difference in bill["differences"].items():
        if difference["break_even"] is not None:
            bill["assumptions"]["requests_per_user"] = difference["break_even"]
            ours, base = (sum(by_hand(document, one).values()) for one in (name, baseline))
            assert ours == pytest.approx(base, rel=1e-6)

"""The bill, against sums done by hand."""

import shutil
from dataclasses import replace

import pytest

from costlab.lab import bill, price_sheet, pricing
from costlab.lab.errors import LabError
from costlab.lab.pricing import Measured
from tests.unit.lab import synthetic

GIVEN = price_sheet.load_assumptions()
SHEET = price_sheet.load_sheet("aws-fargate")
USED = Measured(
    cpu_seconds={"gateway": 0.002, "users": 0.003},
    memory_gib=0.5,
    database_cpu_seconds=0.001,
    bytes=2_000.0,
    spans=0.0,
    redis=True,
)


def costs(measured, given=GIVEN):
    return {row.ChargeDescription: row.EffectiveCost for row in pricing.rows(measured, SHEET, given)}


def test_every_row_is_the_sum_done_by_hand():
    # 10,000 users x 100 requests a day = 11.574/s, at the peak 46.296/s; 30.4 million requests a month.
    assert costs(USED) == pytest.approx(
        {
            "CPU of our services": 46.2963 * 0.005 / 0.6 * 730 * 0.04048,  # 11.40
            "memory of our services": 0.5 * 730 * 0.004445,  # 1.62
            "CPU of PostgreSQL": 46.2963 * 0.001 / 0.5 * 730 * 0.0413,  # 2.79
            "memory of PostgreSQL": 730 * 0.007,  # 5.11
            "disk of PostgreSQL": 10 * 0.17,
            "cache node": 730 * 0.016,  # 11.68
            "bytes to users": 0.0,  # 60.8 GB of 100 free
            "load balancer": 730 * 0.0225,
            "load balancer, work": 730 * 0.0833333 * 0.008,  # 11.574/s x 3600 s x 2,000 B
        },
        rel=1e-4,
    )


def test_the_total_is_the_sum_of_the_rows():
    assert pricing.total(USED, SHEET, GIVEN) == pytest.approx(sum(costs(USED).values()))


def test_bytes_cost_from_the_hundred_and_first_gigabyte():
    busy = GIVEN.model_copy(update={"requests_per_user": 1000.0})
    assert costs(USED, busy)["bytes to users"] == pytest.approx((608 - 100) * 0.09)


def test_traces_are_paid_by_the_gigabyte():
    traced = Measured({"gateway": 0.0}, 0.0, 0.0, 0.0, spans=2.0, redis=False)
    assert costs(traced)["traces"] == pytest.approx(30.4e6 * 2 * 500 / 1e9 * 0.50)


def test_traces_whose_bytes_were_measured_are_paid_as_measured():
    traced = Measured({"gateway": 0.0}, 0.0, 0.0, 0.0, spans=2.0, redis=False, span_bytes=700.0)
    assert costs(traced)["traces"] == pytest.approx(30.4e6 * 700 / 1e9 * 0.50)


def test_logs_are_paid_by_the_gigabyte():
    assert costs(replace(USED, log_bytes=150.0))["logs"] == pytest.approx(30.4e6 * 150 / 1e9 * 0.50)
    assert "logs" not in costs(USED)


def test_the_memory_of_the_database_is_that_measured_and_assumed_only_where_it_was_not():
    assert costs(replace(USED, database_gib=0.25))["memory of PostgreSQL"] == pytest.approx(0.25 * 730 * 0.007)
    assert costs(USED)["memory of PostgreSQL"] == pytest.approx(GIVEN.database_memory_gib * 730 * 0.007)


def test_a_bill_names_what_was_assumed():
    spans = {"counters": {"gateway costlab_spans_started_total": 10.0}}
    assert month(synthetic.rounds(2)).assumed == ["disk of PostgreSQL"]
    assert month(synthetic.rounds(2, ttl=spans)).assumed == ["disk of PostgreSQL", "bytes of a span"]
    unseen = {"memory_bytes": {"gateway": 2**30}}
    assert month(synthetic.rounds(2, off=unseen)).assumed == ["disk of PostgreSQL", "memory of PostgreSQL"]


def test_a_variant_without_a_cache_pays_no_cache_node():
    assert "cache node" not in costs(Measured({}, 0.0, 0.0, 0.0, 0.0, redis=False))


def test_idle_is_what_it_costs_before_the_first_request():
    memory, database, ssd, node, balancer = 0.5 * 730 * 0.004445, 730 * 0.007, 1.7, 730 * 0.016, 730 * 0.0225
    assert pricing.idle(USED, SHEET, GIVEN) == pytest.approx(memory + database + ssd + node + balancer)


def test_steps_round_each_service_up_to_a_quarter_of_a_vcpu():
    # 0.154 and 0.231 vCPU are bought as 0.25 each.
    extra = (0.5 - 46.2963 * 0.005 / 0.6) * 730 * 0.04048
    assert pricing.in_steps(USED, SHEET, GIVEN) == pytest.approx(pricing.total(USED, SHEET, GIVEN) + extra, rel=1e-5)


def test_every_replica_takes_whole_steps():
    # 0.154 and 0.231 vCPU in two replicas each: four times 0.25.
    two = GIVEN.model_copy(update={"replicas": 2})
    extra = (1.0 - 46.2963 * 0.005 / 0.6) * 730 * 0.04048
    assert pricing.in_steps(USED, SHEET, two) == pytest.approx(pricing.total(USED, SHEET, two) + extra, rel=1e-5)


def test_the_break_even_is_where_both_cost_the_same():
    cheap = Measured({"gateway": 0.002}, 0.5, 0.001, 2_000.0, 0.0, redis=True)
    dear = Measured({"gateway": 0.005}, 0.5, 0.001, 2_000.0, 0.0, redis=False)
    [at] = pricing.break_evens(dear, cheap, SHEET, GIVEN)
    # 11.68 USD for the node against 0.003 s of CPU: R/100 x 46.296 x 0.003 / 0.6 x 730 x 0.04048 each month.
    assert at == pytest.approx(100 * 11.68 / (46.2963 * 0.003 / 0.6 * 730 * 0.04048), rel=1e-4)


def test_a_variant_that_only_adds_cost_never_breaks_even():
    assert pricing.break_evens(USED, Measured({"g": 0.006}, 0.6, 0.001, 2_000.0, 0.0, True), SHEET, GIVEN) == []


def test_bytes_that_are_free_at_first_can_make_a_variant_cheaper_in_between_only():
    """It spares CPU and sends more bytes, for more memory: too little to pay for at first, too many bytes later."""
    lean = Measured({"gateway": 0.010}, 0.5, 0.0, 1_000.0, 0.0, redis=False)
    rich = Measured({"gateway": 0.005}, 0.5 + 1.54, 0.0, 6_000.0, 0.0, redis=False)
    first, second = pricing.break_evens(lean, rich, SHEET, GIVEN)
    for requests, cheaper in ((first / 1.05, False), ((first + second) / 2, True), (second * 1.05, False)):
        given = GIVEN.model_copy(update={"requests_per_user": requests})
        assert (pricing.total(rich, SHEET, given) < pricing.total(lean, SHEET, given)) == cheaper
    spoken = bill.Difference(
        usd=1, low=None, high=None, in_steps_usd=1, break_even=first, cheaper_above=True, turns=[second]
    )
    said = bill.break_even_words(spoken)
    assert said.startswith(f"cheaper above R = {first:,.0f} requests")
    assert said.endswith(f"the other way round from R = {second:,.0f} on")


def month(blocks, sheet="aws-fargate", given=GIVEN):
    return bill.bill(synthetic.day_11(), blocks, sheet, given, seed=1)


def test_a_bill_leaves_out_what_a_variant_would_not_deploy():
    made = month(synthetic.rounds(3))
    off, ttl = made.variants["off"], made.variants["ttl"]
    memory = {row.ChargeDescription: row.ConsumedQuantity for row in off.rows}["memory of our services"]
    assert memory == pytest.approx(730 * 1.0)
    assert ttl.usd - off.usd == pytest.approx(0.25 * 730 * 0.004445 + 730 * 0.016)


def test_equal_rounds_leave_no_doubt_about_the_bill():
    made = month(synthetic.rounds(4)).variants["off"]
    assert (made.low, made.high) == pytest.approx((made.usd, made.usd))


def test_the_interval_of_a_bill_widens_with_the_spread_of_the_rounds():
    made = month(synthetic.rounds(4, ttl={"cpu_ms": lambda i: 3.0 + i})).differences["ttl"]
    assert made.low < made.usd < made.high


def test_one_round_gives_a_bill_without_an_interval():
    assert month(synthetic.rounds(1)).differences["ttl"].low is None


def test_no_complete_round_and_no_success_give_no_bill():
    assert month([synthetic.block(1, "off")]) is None
    assert month(synthetic.rounds(2, ttl={"failed": 1000})) is None


def test_another_sheet_changes_prices_and_nothing_else():
    aws, gcp = month(synthetic.rounds(3)), month(synthetic.rounds(3), "gcp")
    quantities = [
        [(row.ChargeDescription, row.PricingQuantity) for row in one.variants["ttl"].rows] for one in (aws, gcp)
    ]
    assert quantities[0] == quantities[1]
    assert aws.variants["ttl"].usd != gcp.variants["ttl"].usd


def test_every_other_sheet_is_in_the_sensitivity():
    lines = [line.assumption for line in month(synthetic.rounds(3)).sensitivity]
    assert {"sheet gcp", "sheet aws-fargate-arm", "R = 1000", "F = 8"} <= set(lines)


@pytest.mark.parametrize("name", price_sheet.sheet_names())
def test_every_price_says_where_and_when_it_was_seen(name):
    for key in price_sheet.Rows.model_fields:
        row = getattr(price_sheet.load_sheet(name).rows, key)
        assert row.source
        assert row.seen


def test_an_unknown_sheet_lists_those_there_are():
    with pytest.raises(LabError, match="there are: aws-fargate, aws-fargate-arm, gcp"):
        price_sheet.load_sheet("azure")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("price = 0.04048", "price = -1", r":8: rows.vcpu_hour.price is -1"),
        ("price = 0.04048", 'price = "free"', r":8: rows.vcpu_hour.price is 'free'"),
        ("price = 0.04048", "price = 1e308", r":8: rows.vcpu_hour.price is 1e\+308"),
        ("price = 0.04048", "price = nan", r":8: rows.vcpu_hour.price is nan"),
        ("[rows.egress_gb]", "[rows.egres_gb]", "unknown key rows.egres_gb; allowed: vcpu_hour"),
        ('seen = "2026-09-23"', 'seen = "yesterday"', "rows.vcpu_hour.seen is 'yesterday'"),
        ('seen = "2026-09-23"', 'seen = "2026-99-99"', "rows.vcpu_hour.seen: month must be in 1..12"),
        ('seen = "2026-09-23"', 'seen = "2026-02-30"', "rows.vcpu_hour.seen: day is out of range for month"),
        ('seen = "2026-09-23"', 'seen = "2026-13"', "rows.vcpu_hour.seen: month must be in 1..12"),
        (
            'unit = "vCPU-Hours"',
            'unit = "vCPU-Seconds"',
            ":7: rows.vcpu_hour.unit is 'vCPU-Seconds'; allowed: 'vCPU-Hours'",
        ),
        ('unit = "GB"', 'unit = "TB"', "rows.egress_gb.unit is 'TB'; allowed: 'GB'"),
        ('service = "AWS Fargate"', 'service = ""', ":6: rows.vcpu_hour.service is ''"),
        ('source = "AWS Fargate price list, Linux x86, us-east-1"', 'source = ""', "rows.vcpu_hour.source is ''"),
        ('title = "AWS Fargate x86, us-east-1"', 'title = ""', ":3: title is ''"),
        ("[rows.vcpu_hour]", "[rows.vcpu_hour", "not TOML"),
        ("[rows.logs_gb]", "[rows.traces_gb.more]", "unknown key rows.traces_gb.more"),
    ],
)
def test_a_broken_sheet_is_one_clear_error(tmp_path, old, new, expected):
    shutil.copytree(price_sheet.PRICES, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "aws-fargate.toml"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(LabError, match=expected) as caught:
        price_sheet.load_sheet("aws-fargate", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_sheet_without_a_price_for_logs_is_refused(tmp_path):
    shutil.copytree(price_sheet.PRICES, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "gcp.toml"
    file.write_text(file.read_text().split("[rows.logs_gb]")[0])
    with pytest.raises(LabError, match=r"gcp.toml: rows.logs_gb is missing"):
        price_sheet.load_sheet("gcp", tmp_path)


def test_an_override_is_checked_like_the_file():
    assert bill.changes(GIVEN, {"requests_per_user": 50.0, "daily_users": None}).requests_per_user == 50
    with pytest.raises(LabError, match="requests_per_user"):
        bill.changes(GIVEN, {"requests_per_user": -1.0})

"""Results of the right shape that make no sense are refused, with the place named."""

import json

import pytest

from costlab.lab import plausible, result
from costlab.lab.catalogue import ROOT
from costlab.lab.conclusion import conclude
from costlab.lab.errors import LabError
from tests.unit.lab import synthetic


@pytest.fixture
def refused(tmp_path):
    """refused(change): what loading says once ``change`` has been made to a good result."""
    blocks = synthetic.rounds(2, ttl={"queries": 700})
    good = synthetic.result(blocks, conclude(synthetic.day_11(), blocks, 7, quick=True))
    path = tmp_path / "result.json"

    def load(change):
        document = json.loads(good.model_dump_json())
        change(document)
        path.write_text(json.dumps(document))
        with pytest.raises(LabError) as caught:
            result.load(path)
        return str(caught.value)

    return load


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("blocks.0.cpu_seconds.gateway", 1e300, "blocks.0.cpu_seconds.gateway is 1e+300, which no figure of a run"),
        ("blocks.1.variant", "on", "blocks.1.variant is 'on'; allowed: off, ttl"),
        ("blocks.0.statuses", {"fine": 1}, "blocks.0.statuses has 'fine'; allowed: HTTP statuses"),
        ("blocks.0.latencies.histogram", {"-5": 1}, "counts 1 in bucket -5"),
        ("blocks.0.latencies.histogram", {"1842": 0}, "blocks.0.latencies counts 0 in bucket 1842; no run does"),
        ("blocks.0.latencies.by_request.user", {"1842": 0}, "blocks.0.latencies counts 0 in bucket 1842"),
        ("blocks.0.guards.1.value", None, "blocks.0.guards.1.kept is true; allowed with its value and limit: null"),
        ("blocks.0.guards.1.kept", None, "blocks.0.guards.1.kept is null; allowed with its value and limit: true"),
        ("blocks.0.guards.1.kept", False, "blocks.0.guards.1.kept is false; allowed with its value and limit: true"),
        ("blocks.0.guards.1.value", 0.5, "blocks.0.guards.1.kept is true; allowed with its value and limit: false"),
        ("started", "<script>alert(1)</script>", "started is '<script>alert(1)</script>'; allowed: a time in UTC as 2"),
        ("started", "2026-01-02", "started is '2026-01-02'; allowed: a time in UTC as 2026-01-02T03:04:05Z"),
        ("started", "2026-01-02T03:04:05+02:00", "started is '2026-01-02T03:04:05+02:00'; allowed"),
        ("started", "2026-02-30T03:04:05Z", "started is '2026-02-30T03:04:05Z'; allowed"),
        ("started", "x" * 5000, "xxx; allowed: a time in UTC"),
        ("resumed", ["2026-01-02T03:04:05Z", "later"], "resumed.1 is 'later'; allowed: a time in UTC"),
        (
            "noise",
            {"measured": "today", "rounds": 4, "block_seconds": 7.0, "floors": {}},
            "noise.measured is 'today'; allowed: a time in UTC",
        ),
        ("given_flags", {"cache.ttl": True}, "given_flags.cache.ttl is true; allowed: text or a number"),
        ("blocks.0.flags", {"cache.ttl": None}, "blocks.0.flags.cache.ttl is null; allowed: text or a number"),
        ("blocks.0.elapsed", 0.0, "its readings 0 s; allowed: above 0"),
        ("blocks.0.counters", {"nameless": 1.0}, "blocks.0.counters has 'nameless'"),
        ("blocks.0.cpu_seconds.gateway", -1.0, "blocks.0.cpu_seconds.gateway is -1; allowed: 0 or more"),
        ("blocks.0.bytes", -400, "blocks.0.bytes is -400"),
        ("blocks.0.planned", -1, "blocks.0.planned is -1"),
        ("blocks.0.statuses", {"200": -5}, "blocks.0.statuses.200 is -5"),
        ("blocks.0.memory_bytes.gateway", -1, "blocks.0.memory_bytes.gateway is -1"),
        ("blocks.0.queries.by_role.users", -1, "blocks.0.queries.by_role.users is -1"),
        ("blocks.0.queries.statements.0.calls", -1, "blocks.0.queries.statements.0.calls is -1"),
        ("blocks.0.counters", {"gateway a_total": -1.0}, "blocks.0.counters.gateway a_total is -1"),
        ("blocks.1.variant", "off", "blocks has 2 blocks of off in round 1; allowed: 1"),
        ("planned_blocks", 6, "status is complete, with 4 of 6 planned blocks"),
        ("blocks.3.repeated", True, "status is complete, with 3 of 4 planned blocks"),
        ("seed", -1, "seed is -1"),
        ("seed", 2**32, "seed is 4294967296; allowed: 0 to 4294967295"),
        ("seed", 10**400, "seed is beyond 1e+308, which no figure of a run can be"),
        ("blocks.0.bytes", -(10**400), "blocks.0.bytes is beyond -1e+308"),
        (
            "blocks.0.started_at",
            1764423000000,
            "blocks.0.started_at is 1.76442e+12; allowed: seconds since 1970, before",
        ),
        ("blocks.0.started_at", -1.0, "blocks.0.started_at is -1; allowed: seconds since 1970"),
        (
            "noise",
            {"measured": "2026-01-02T00:00:00Z", "rounds": 4, "block_seconds": 7.0, "floors": {"speed": 0.1}},
            "noise.floors: there is no metric 'speed'",
        ),
        ("blocks", [], "conclusion rests on no block"),
        (
            "conclusion.effects.1.metric",
            "speed",
            "conclusion.effects.1.metric is 'speed'; allowed: db_queries_per_request, ",
        ),
        ("conclusion.effects.1.variant", "off", "conclusion.effects.1.variant is 'off'; allowed: ttl"),
        ("conclusion.effects", [], "has 0 effects of ttl on db_queries_per_request; allowed: 1"),
        ("conclusion.effects.0.ratio", -0.5, "conclusion.effects.0.ratio is -0.5; allowed: 0 or more"),
        ("conclusion.effects.1.ratio", 0.0, "conclusion.effects.1.ratio is 0; allowed: above 0"),
        ("conclusion.effects.1.low", -0.5, "conclusion.effects.1.low is -0.5; allowed: above 0"),
        ("conclusion.effects.1.high", 5e-324, "conclusion.effects.1.high is 4.94066e-324; allowed: above 0"),
        ("conclusion.effects.1.high", 1e101, "conclusion.effects.1.high is 1e+101, which no figure"),
        ("conclusion.bill.differences", {}, "conclusion.bill.differences is of nobody; it should be of ttl"),
        ("conclusion.bill.variants.off.curve", [1.0], "a curve does not have 9 points"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(refused, where, value, said):
    def change(document):
        *above, last = where.split(".")
        for key in above:
            document = document[int(key) if isinstance(document, list) else key]
        document[last] = value

    message = refused(change)
    assert said in message
    assert "\n" not in message
    assert len(message) < 1000


def test_a_declared_metric_of_a_variant_has_one_effect_neither_none_nor_two(refused):
    last = synthetic.day_11().metrics()[-1]
    assert "has 2 effects of ttl on db_queries_per_request" in refused(
        lambda one: _effects(one).append(_effects(one)[0])
    )
    assert f"has 0 effects of ttl on {last}" in refused(lambda one: _effects(one).pop())


def _effects(document):
    return document["conclusion"]["effects"]


def test_an_effect_of_a_metric_that_the_day_does_not_declare_is_refused(refused):
    def change(document):
        _effects(document).append(_effects(document)[-1] | {"metric": "lost_orders"})

    assert "metric is 'lost_orders'; allowed: db_queries_per_request" in refused(change)


def test_the_time_that_a_run_writes_is_one(tmp_path):
    made = synthetic.result([], status="interrupted").model_copy(update={"started": result.now()})
    result.save(made, tmp_path / "result.json")
    assert result.load(tmp_path / "result.json") == made


def test_a_variant_that_answered_nothing_has_no_latencies_and_is_no_damage(tmp_path):
    blocks = synthetic.rounds(2, ttl={"failed": 1000})
    made = synthetic.result(blocks, conclude(synthetic.day_11(), blocks, 7, quick=True))
    assert made.blocks[1].latencies.histogram == {}
    result.save(made, tmp_path / "result.json")
    assert result.load(tmp_path / "result.json") == made


def test_what_is_counted_may_come_down_to_nought(tmp_path):
    blocks = synthetic.rounds(2, ttl={"queries": 0})
    made = synthetic.result(blocks, conclude(synthetic.day_11(), blocks, 7, quick=True))
    assert made.conclusion.effects[0].high == 0
    result.save(made, tmp_path / "result.json")
    assert result.load(tmp_path / "result.json") == made


def test_the_wide_interval_of_two_rounds_far_apart_is_no_damage(tmp_path):
    blocks = synthetic.rounds(2, ttl={"milliseconds": lambda i: 10.0 ** (1 + 4 * (i - 1))})
    made = synthetic.result(blocks, conclude(synthetic.day_11(), blocks, 7, quick=True))
    assert made.conclusion.effect("p50_ms", "ttl").high > plausible.LARGEST
    result.save(made, tmp_path / "result.json")
    assert result.load(tmp_path / "result.json") == made


@pytest.mark.parametrize(
    "path",
    [path for path in sorted((ROOT / "benchmarks").glob("**/*Z*.json")) if path.parent.name != "telemetry"],
    ids=lambda path: path.relative_to(ROOT / "benchmarks").as_posix(),
)
def test_every_stored_result_makes_sense(path):
    assert result.load(path).status == "complete"

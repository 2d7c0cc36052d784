"""Results of the right shape that make no sense are refused, with the place named."""

import json

import pytest

from costlab.lab import result
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
        (
            "noise",
            {"measured": "2026-01-02T00:00:00Z", "rounds": 4, "block_seconds": 7.0, "floors": {"speed": 0.1}},
            "noise.floors: there is no metric 'speed'",
        ),
        ("blocks", [], "conclusion rests on no block"),
        ("conclusion.effects.1.metric", "speed", "conclusion.effects.1: there is no metric 'speed'"),
        ("conclusion.effects.1.variant", "off", "conclusion.effects.1.variant is 'off'; allowed: ttl"),
        ("conclusion.effects", [], "says nothing of db_queries_per_request of ttl, which decides"),
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

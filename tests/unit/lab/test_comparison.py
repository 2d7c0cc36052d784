"""Two results side by side, or every reason why not."""

import io
import json

import pytest
from rich.console import Console

from costlab.lab import comparison, result
from costlab.lab.conclusion import conclude
from costlab.lab.errors import LabError
from costlab.lab.experiment import PlannedFault
from tests.unit.lab import synthetic
from tests.unit.lab.test_cli import costlab  # noqa: F401 - a fixture


def made(rounds=6, milliseconds=lambda i: 8.0 + 0.1 * i, queries=700, **changes):
    blocks = synthetic.rounds(rounds, ttl={"queries": queries, "milliseconds": milliseconds})
    return synthetic.result(blocks, conclude(synthetic.day_11(), blocks, 7, quick=True)).model_copy(update=changes)


def environment(**changes):
    return {"environment": synthetic.environment().model_copy(update=changes)}


def row(compared, metric):
    return next(row for row in compared.rows if row.metric == metric)


def test_a_change_that_is_another_has_moved_and_one_that_is_the_same_has_not():
    compared = comparison.compare(made(), made(milliseconds=lambda i: 5.0 + 0.1 * i))
    assert row(compared, "p50_ms").moved
    assert not row(compared, "cpu_ms_per_request").moved
    assert not row(compared, "db_queries_per_request").moved
    assert row(comparison.compare(made(), made(queries=650)), "db_queries_per_request").moved


def test_a_change_within_the_noise_has_not_moved():
    assert not row(comparison.compare(made(), made(milliseconds=lambda i: 8.1 + 0.1 * i)), "p50_ms").moved


def test_what_has_no_ratio_has_neither_moved_nor_stayed():
    assert row(comparison.compare(made(), made()), "failed_share").moved is None


def test_commit_versions_and_rounds_may_differ_and_are_told():
    other = made(rounds=8, **environment(commit="decaf", versions={"costlab": "0.2.0"}, kernel="7"))
    other = other.model_copy(update={"form": other.form.model_copy(update={"count": 8})})
    notes = comparison.compare(made(), other).notes
    assert notes == [
        "commit c0ffee against decaf",
        "4 rounds against 8",
        "costlab 0.1.0 against 0.2.0",
        "kernel 6 against 7",
    ]


def _declared(**changes):
    return {"experiment": synthetic.day_11().model_copy(update=changes)}


DAY = synthetic.day_11()
OTHER_FLAGS = DAY.variants | {"ttl": DAY.variants["ttl"].model_copy(update={"flags": {"cache.ttl": 60}})}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"day": "12-pool"}, "day: 11-caching against 12-pool"),
        ({"quick": False}, "form: quick against full"),
        ({"status": "interrupted"}, "the second is interrupted"),
        ({"given_flags": {"db.pool": 1}}, "flags given from outside: none against db.pool 1"),
        ({"form": DAY.rounds}, "seconds of a block: 7.0 against 30.0"),
        (environment(cores=8), "cores: 2 against 8"),
        (environment(host="other"), "machine: machine against other"),
        (environment(target="compose"), "stack: local against compose"),
        (_declared(load=DAY.load.model_copy(update={"rate": 40.0})), "requests per second: 80.0 against 40.0"),
        (_declared(variants=OTHER_FLAGS), "variants: "),
        (
            _declared(primary=DAY.primary.model_copy(update={"metric": "p50_ms"})),
            "primary: db_queries_per_request, ttl",
        ),
        (_declared(primary=DAY.primary.model_copy(update={"smallest_effect": 0.5})), "threshold: 0.05 against 0.5"),
        (
            _declared(faults=[PlannedFault(at=1, seconds=2, fault="latency", on="users", parameters={"ms": 50})]),
            "faults: none against at 1.0; fault latency; on users; parameters ms 50; ttl 2.0",
        ),
    ],
)
def test_what_did_not_measure_the_same_is_refused_with_the_reason(changes, said):
    with pytest.raises(LabError) as caught:
        comparison.compare(made(), made(**changes))
    assert str(caught.value).startswith("these two cannot be compared: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_load_generator_is_refused_and_another_version_of_it_is_not():
    def by(generator):
        one = made()
        return one.model_copy(
            update={"blocks": [block.model_copy(update={"generator": generator}) for block in one.blocks]}
        )

    comparison.compare(by("k6 v1.8.1"), by("k6 v1.9.0"))
    with pytest.raises(LabError, match="generator: k6 against costlab open-model"):
        comparison.compare(by("k6 v1.8.1"), made())


def with_flags(**flags):
    """A result whose blocks found these flags beside those of their variants."""
    one = made()
    blocks = [block.model_copy(update={"flags": block.flags | flags}) for block in one.blocks]
    return one.model_copy(update={"blocks": blocks})


def test_other_flags_on_the_stack_are_refused_and_those_of_one_commit_alone_are_not():
    first = with_flags(profiling="off", older=1)
    comparison.compare(first, with_flags(profiling="off", newer=1))
    with pytest.raises(LabError, match="flag profiling: off against cprofile"):
        comparison.compare(first, with_flags(profiling="cprofile"))


def test_every_reason_is_given_at_once():
    with pytest.raises(LabError, match=r"day: .*; .*cores: "):
        comparison.compare(made(), made(day="12-pool", **environment(cores=8)))


def test_the_command_shows_both_and_refuses_with_one_line(tmp_path, costlab):  # noqa: F811
    for name, one in (("a", made()), ("b", made(**environment(commit="decaf"))), ("c", made(day="12-pool"))):
        result.save(one, tmp_path / f"{name}.json")
    shown = costlab("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert "latency p50" in shown.stdout
    assert "commit c0ffee against decaf" in shown.stdout
    document = json.loads(costlab("compare", tmp_path / "a.json", tmp_path / "b.json", "--json").stdout)
    assert document["first"]["verdict"] == "CONFIRMED"
    assert "cannot be compared" in str(costlab("compare", tmp_path / "a.json", tmp_path / "c.json").exception)


def test_it_fits_on_a_terminal_of_eighty_columns():
    console = Console(file=io.StringIO(), width=80)
    comparison.show(comparison.compare(made(), made()), console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    at = next(i for i, line in enumerate(lines) if "latency p50" in line)
    assert [lines[at].count("%"), lines[at + 1].count(" to ")] == [2, 2]

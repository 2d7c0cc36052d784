"""A/A: what identical variants differ by is the least that a change has to be clear of."""

import threading

import pytest

from costlab.lab import catalogue, noise, result, session
from costlab.lab.conclusion import conclude
from costlab.lab.experiment import PlannedFault
from tests.unit.lab import killed_run, synthetic
from tests.unit.lab.test_runner import Listener, Load

FAULT = PlannedFault(at=1, seconds=2, fault="latency", on="users")


def aa(ratios, **more):
    """A finished A/A run whose p50 ratios are as given."""
    twins = noise.twins(synthetic.day_11())
    first, again = twins.names()
    blocks = [
        synthetic.block(i, name, milliseconds=10 * (ratio if name == again else 1))
        for i, ratio in enumerate(ratios, 1)
        for name in (first, again)
    ]
    finished = synthetic.result(blocks, conclude(twins, blocks, 7, quick=True, floors={}))
    return finished.model_copy(update={"experiment": twins, "twins": True} | more)


def test_the_baseline_runs_against_itself():
    twins = noise.twins(synthetic.day_11())
    assert twins.names() == ["off", "off-again"]
    assert twins.variants["off"] == twins.variants["off-again"]
    assert (twins.primary.variant, twins.prediction.ratio) == ("off-again", 1.0)


@pytest.mark.parametrize(("rounds", "expected"), [(1, 6), (8, 6), (12, 6), (20, 10)])
def test_an_aa_run_has_half_the_rounds_and_at_least_six(rounds, expected):
    assert noise.form(synthetic.day_11().rounds.model_copy(update={"count": rounds})).count == expected


def test_a_floor_is_as_far_as_the_interval_of_no_change_reaches():
    measured = aa([0.97, 1.02, 1.01, 0.99])
    effect = measured.conclusion.effect("p50_ms", "off-again")
    floor = noise.of(measured).floors["p50_ms"]
    assert floor == pytest.approx(max(effect.high, 1 / effect.low) - 1)
    assert 0.02 < floor < 0.08


def test_identical_figures_have_a_floor_of_nothing():
    floors = noise.of(aa([1.0] * 4)).floors
    assert floors["p50_ms"] == pytest.approx(0, abs=1e-9)


@pytest.fixture
def kept(tmp_path):
    def keep(**more):
        result.save(aa([0.97, 1.02, 1.01, 0.99], **more), tmp_path / "noise" / "11-caching" / "20260102T030405Z.json")
        wanted = synthetic.result([]).model_copy(update={"environment": killed_run.here("costlab open-model")})
        return noise.today(catalogue.find("11"), wanted, tmp_path)

    return keep


def test_a_floor_of_the_day_and_machine_is_found(kept):
    assert kept().floors["p50_ms"] > 0.01


def test_a_run_that_was_spoilt_has_no_floor(kept):
    blocks = [synthetic.block(1, "off"), synthetic.block(1, "off-again", dropped=5)]
    assert noise.spoilt(aa([1.0]).model_copy(update={"blocks": blocks})) == ["planned requests never sent"]
    assert kept(blocks=blocks, planned_blocks=2) is None


def test_flags_that_the_baseline_sets_itself_may_have_stood_otherwise_before(kept):
    assert kept(flags_before={"gateway.reads": "cache_proxy"}) is not None


def test_a_floor_of_the_same_generator_holds_by_whatever_word_it_was_asked_for(kept):
    assert kept(generator="open-model") is not None


@pytest.mark.parametrize(
    "more",
    [
        {"started": "2026-01-01T23:59:59Z"},
        {"status": "interrupted"},
        {"environment": synthetic.environment().model_copy(update={"cores": 4})},
        {"form": synthetic.day_11().rounds},
        {"experiment": noise.twins(synthetic.day_11().with_flags({"http.pool_size": 3}))},
        {"experiment": noise.twins(synthetic.day_11().model_copy(update={"faults": [FAULT]}))},
        {"blocks": [block.model_copy(update={"generator": "k6 v1.7.1"}) for block in aa([1.0] * 4).blocks]},
        {"flags_before": {"profiling": "cprofile"}},
    ],
    ids=[
        "yesterday",
        "unfinished",
        "another machine",
        "longer blocks",
        "another baseline",
        "another fault",
        "another generator, though both were asked for by the same word",
        "other flags around it",
    ],
)
def test_a_floor_of_other_conditions_does_not_hold(kept, more):
    assert kept(**more) is None


@pytest.mark.parametrize(
    ("resumed", "said"),
    [
        ([], []),
        (["2026-01-02T23:59:59Z"], []),
        (
            ["2026-01-02T23:59:59Z", "2026-01-03T00:00:00Z", "2026-01-03T09:00:00Z"],
            ["the run went on on 2026-01-03 with the noise floor begun on 2026-01-02: a floor holds for its date only"],
        ),
    ],
)
def test_a_run_that_went_on_on_a_later_date_than_its_floor_says_so(resumed, said):
    floor = noise.of(aa([1.0] * 4))
    assert noise.outlived(synthetic.result([]).model_copy(update={"noise": floor, "resumed": resumed})) == said


def test_a_run_without_a_floor_outlives_none():
    assert noise.outlived(synthetic.result([]).model_copy(update={"resumed": ["2026-01-03T00:00:00Z"]})) == []


def test_a_damaged_floor_is_as_good_as_none(tmp_path):
    path = tmp_path / "noise" / "11-caching" / "20260102T030405Z.json"
    result.write_whole(path, "{")
    assert noise.today(catalogue.find("11"), synthetic.result([]), tmp_path) is None


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A place without a stack, whose load takes no time."""
    stack = killed_run.stand_in(monkeypatch.setattr)
    return session.Place(stack, Listener(), threading.Event(), tmp_path, Load())


def runs_begun(place):
    return [event[1] for event in place.listener.events if event[0] == "begun"]


def test_the_first_full_run_of_a_day_measures_the_floor_and_the_next_one_finds_it(place):
    day = catalogue.find("11")
    _, first = session.run_day(day, session.Wish(rounds=2, seed=1), place)
    assert runs_begun(place) == [6, 2]
    assert first.noise.floors["p50_ms"] == pytest.approx(0, abs=1e-9)
    assert not any("no A/A run" in caveat for caveat in first.conclusion.caveats)
    _, second = session.run_day(day, session.Wish(rounds=2, seed=1), place)
    assert runs_begun(place) == [6, 2, 2]
    assert second.noise == first.noise


@pytest.mark.parametrize("wish", [{"quick": True}, {"noise": False}])
def test_a_quick_run_and_one_told_not_to_measure_no_floor_and_say_so(place, wish):
    _, finished = session.run_day(catalogue.find("11"), session.Wish(rounds=1, seed=1, **wish), place)
    assert runs_begun(place) == [1]
    assert finished.noise is None
    assert any("no A/A run" in caveat for caveat in finished.conclusion.caveats)


def test_flags_given_from_outside_are_said_and_recorded(place):
    wish = session.Wish(quick=True, rounds=1, seed=1, flags={"cache.ttl": 60.0})
    path, finished = session.run_day(catalogue.find("11"), wish, place)
    assert ("said", "set in every variant: cache.ttl=60.0") in place.listener.events
    assert {variant.flags["cache.ttl"] for variant in finished.experiment.variants.values()} == {60.0}
    assert result.load(path).given_flags == {"cache.ttl": 60.0}

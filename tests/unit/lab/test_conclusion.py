"""What a pattern brings and costs says the same as the verdict, and rests on the two variants that it compares."""

import random

import pytest

from costlab.lab import experiment as experiments
from costlab.lab import guards, noise
from costlab.lab.block import FaultSeen, Second
from costlab.lab.catalogue import find
from costlab.lab.conclusion import conclude
from costlab.lab.effect import effect
from costlab.lab.experiment import PlannedFault
from tests.unit.lab import synthetic

DAY = synthetic.day_11()


def deciding(metric, smallest_effect=None):
    """Day 11, decided by another metric."""
    primary = DAY.primary.model_copy(update={"metric": metric, "smallest_effect": smallest_effect})
    return DAY.model_copy(update={"primary": primary, "secondary": [DAY.primary.metric, *DAY.secondary]})


def concluded(blocks, declared=DAY, floors=None):
    return conclude(declared, blocks, 7, quick=False, floors=floors or {})


def about(lines, label):
    return [line for line in lines if line.startswith(label)]


def faster(by=0.10, **more):
    return synthetic.rounds(6, ttl={"milliseconds": lambda i: 10 * (1 - by) + 0.01 * i, **more})


def test_what_is_clear_of_what_matters_is_brought():
    made = concluded(faster())
    assert about(made.brings, "latency p50")
    assert not about(made.unclear, "latency p50")


def test_what_lies_within_the_noise_floor_but_not_within_what_matters_is_unclear():
    made = concluded(faster(), floors={"p50_ms": 0.30})
    assert about(made.unclear, "latency p50")
    assert not about(made.brings + made.costs, "latency p50")


def test_what_is_less_than_what_matters_is_not_told():
    made = concluded(faster(by=0.01))
    assert not about(made.brings + made.costs + made.unclear, "latency p50")


def test_a_price_that_the_baseline_does_not_have_at_all_is_a_cost_and_one_that_is_gone_is_brought():
    declared = deciding("pool_wait_ms_per_request")
    waited = {"counters": {"orders costlab_connection_wait_seconds_sum": 0.5}}
    moved = "wait for pooled connections/request (0 ms to 0.500 ms)"
    assert about(concluded(synthetic.rounds(6, ttl=waited), declared).costs, moved)
    moved = "wait for pooled connections/request (0.500 ms to 0 ms)"
    assert about(concluded(synthetic.rounds(6, off=waited), declared).brings, moved)


def test_a_price_that_only_some_rounds_have_is_unclear():
    made = concluded(synthetic.rounds(6, ttl={"failed": lambda i: 3 if i == 2 else 0}), deciding("failed_share"))
    assert about(made.unclear, "failed requests")
    assert not about(made.costs, "failed requests")


def test_the_primary_brings_only_what_is_beyond_its_own_smallest_effect():
    made = concluded(faster(), deciding("p50_ms", 0.30))
    assert made.verdict.word == "REFUTED"
    assert not about(made.brings, "latency p50")


def test_where_guards_spoil_a_comparison_of_times_only_what_is_counted_is_clear():
    made = concluded(faster(queries=700, dropped=5, cpu_ms=1.0), deciding("p50_ms"))
    assert made.verdict.word == "INCONCLUSIVE"
    assert about(made.unclear, "latency p50")
    assert about(made.unclear, "CPU/request, services")
    assert about(made.unclear, "the bill")
    assert len(made.brings) == len(about(made.brings, "database queries/request")) == 1


@pytest.mark.parametrize("rounds", [2, 6])
def test_what_is_counted_and_comes_down_to_nought_is_brought(rounds):
    made = concluded(synthetic.rounds(rounds, ttl={"queries": 0}))
    assert about(made.brings, "database queries/request -100.0 %")
    assert not about(made.unclear, "database queries/request")


def test_one_round_of_what_is_timed_is_not_clear():
    made = concluded(synthetic.rounds(1, ttl={"milliseconds": 5.0}))
    assert about(made.unclear, "latency p50")


def test_a_third_variant_that_is_spoilt_spoils_nothing_and_is_told_of():
    declared = deciding("p50_ms")
    declared = declared.model_copy(update={"variants": declared.variants | {"third": declared.variants["ttl"]}})
    third = [synthetic.block(i, "third", dropped=5) for i in range(1, 7)]
    made = concluded([*faster(), *third], declared)
    assert made.verdict.word == "CONFIRMED"
    assert any("planned requests never sent" in caveat for caveat in made.caveats)


@pytest.mark.parametrize(("late", "kept"), [(1, True), (2, False)])
def test_as_many_late_answers_as_the_limit_allows_are_no_broken_guard(late, kept):
    block = synthetic.block(1, "off", requests=100, answered_in_time=100 - late)
    found = {guard.name: guard.kept for guard in guards.check(block, DAY.guards)}
    assert found["rate_error"] is kept


def limited(declared, rounds, chance):
    """Blocks of day 10: 100 requests in a second of which an edge of the clock's seconds comes after a share f."""

    def admitted(variant):
        f = chance.random()
        windowed = min(20, round(100 * f)) + min(20, round(100 * (1 - f)))
        return 20 if variant == "sliding_log" else windowed

    def counters(variant):
        number = admitted(variant)
        counter = "gateway costlab_rate_limit_decisions_total"
        return {f'{counter}{{outcome="admitted"}}': number, f'{counter}{{outcome="refused"}}': 100 - number}

    return [
        synthetic.block(i, name, requests=100, counters=counters(name))
        for i in range(1, rounds + 1)
        for name in declared.names()
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_window_that_begins_anywhere_differs_from_itself_and_yet_from_a_sliding_log(seed):
    day = experiments.load(find("10").file)
    day = day.model_copy(update={"variants": {name: day.variants[name] for name in ("fixed_window", "sliding_log")}})
    chance, twins = random.Random(seed), noise.twins(day)
    blocks = limited(twins, noise.form(day.rounds).count, chance)
    aa = synthetic.result(blocks, conclude(twins, blocks, seed, quick=False, floors={}))
    floors = noise.of(aa).floors
    assert 0.02 < floors["admitted_share"] < 0.6
    blocks = limited(day, day.rounds.count, chance)
    assert conclude(day, blocks, seed, quick=False, floors=floors).verdict.word == "CONFIRMED"


def test_day_12_compares_no_latencies_of_variants_that_fail_at_different_rates_and_has_a_verdict():
    day = experiments.load(find("12").file)
    blocks = [
        synthetic.block(i, name, requests=960, failed=failed, guards=[], milliseconds=slow + i)
        for i in range(1, 11)
        for name, failed, slow in (("off", 140, 400.0), ("breaker", 180, 10.0), ("client_throttle", 150, 400.0))
    ]
    blocks = [block.model_copy(update={"guards": guards.check(block, day.guards)}) for block in blocks]
    made = conclude(day, blocks, 7, quick=False, floors={})
    assert "error rates differ" in made.effect("p50_ms", "breaker").refused
    assert made.effect(day.primary.metric, day.primary.variant).ratio is not None
    assert "spoilt" not in made.verdict.reason
    # Whoever fails more often divides less work by fewer successes.
    assert "the bill" in made.unclear
    assert not any("USD" in line for line in (*made.brings, *made.costs))
    assert effect(day, blocks, "timely_per_second", "breaker", 7).p is not None


def test_a_day_with_faults_says_of_each_variant_how_many_blocks_were_well_again():
    fault = PlannedFault(at=2, seconds=2, fault="errors", on="users", parameters={"status": 503})
    day = DAY.model_copy(update={"faults": [fault], "secondary": [*DAY.secondary, "recovery_seconds"]})
    broken = {"faults": [FaultSeen(fault="errors", on="users", at=2, until=4)]}
    ill = [Second(at=i, requests=100, failed=100 * (i > 4), p50_ms=10.0, p95_ms=10.0) for i in range(10)]
    blocks = synthetic.rounds(10, off=broken, ttl={**broken, "series": ill})
    assert concluded(blocks, day).sides()["Of the blocks"] == [
        "well again in time: off 10 of 10 (72 to 100 %), ttl 0 of 10 (0 to 28 %, p = 1.1e-05)"
    ]
    assert "Of the blocks" not in concluded(blocks).sides()

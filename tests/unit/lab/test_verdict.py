"""Verdicts, from blocks whose truth is known."""

import pytest

from costlab.lab.effect import effect
from costlab.lab.experiment import Primary
from costlab.lab.verdict import decide, rounds_to_settle
from tests.unit.lab import synthetic

FASTER = Primary(metric="p50_ms", variant="ttl", direction="lower", smallest_effect=0.05)
FEWER = Primary(metric="db_queries_per_request", variant="ttl", direction="lower", smallest_effect=0.05)


def verdict(ratios, primary=FASTER, spoilt=(), seed=1, floor=0.0):
    declared = synthetic.day_11()
    measured = effect(declared, synthetic.from_ratios(ratios), primary.metric, "ttl", seed)
    return decide(primary, measured, list(spoilt), quick=False, floor=floor)


def test_wholly_beyond_the_threshold_in_the_predicted_direction_is_confirmed():
    assert verdict([0.80, 0.82, 0.79, 0.81, 0.80, 0.78]).word == "CONFIRMED"


def test_wholly_beyond_it_the_other_way_is_refuted():
    outcome = verdict([1.20, 1.22, 1.19, 1.21, 1.20, 1.18])
    assert (outcome.word, "the other way" in outcome.reason) == ("REFUTED", True)


def test_wholly_within_it_is_refuted():
    outcome = verdict([1.01, 0.99, 1.0, 1.01, 0.99, 1.0])
    assert (outcome.word, "no change that matters" in outcome.reason) == ("REFUTED", True)


def test_across_it_is_inconclusive_and_says_how_many_rounds_would_settle_it():
    outcome = verdict([0.80, 1.02, 0.85, 0.95, 0.82, 1.0])
    assert outcome.word == "INCONCLUSIVE"
    assert outcome.rounds_to_settle > 6


def test_a_higher_figure_can_be_what_is_predicted():
    primary = FASTER.model_copy(update={"direction": "higher"})
    assert verdict([1.20, 1.22, 1.19, 1.21], primary).word == "CONFIRMED"


def test_what_lies_within_the_noise_floor_of_the_machine_is_not_confirmed():
    clear = [0.90, 0.91, 0.89, 0.90, 0.90, 0.91]
    assert verdict(clear).word == "CONFIRMED"
    noisy = verdict(clear, floor=0.15)
    assert (noisy.word, "this machine's noise floor of -13.0 to +15.0 %" in noisy.reason) == ("INCONCLUSIVE", True)
    assert noisy.rounds_to_settle is None
    assert verdict(clear, floor=0.01) == verdict(clear)


def test_what_lies_within_the_threshold_is_refuted_whatever_the_noise_floor():
    nothing = [1.01, 0.99, 1.0, 1.01, 0.99, 1.0]
    assert verdict(nothing, floor=0.15) == verdict(nothing)


def test_what_is_counted_has_to_be_clear_of_the_floor_too_if_it_has_one():
    """Identical variants that read through a cache miss now and then what the other hit."""
    blocks = synthetic.rounds(4, ttl={"queries": 900})
    counted = effect(synthetic.day_11(), blocks, "db_queries_per_request", "ttl", 1)
    assert decide(FEWER, counted, [], quick=False, floor=0.0).word == "CONFIRMED"
    assert decide(FEWER, counted, [], quick=False, floor=0.2).word == "INCONCLUSIVE"


def test_one_round_settles_nothing():
    outcome = verdict([0.5])
    assert (outcome.word, outcome.rounds_to_settle) == ("INCONCLUSIVE", 2)


def test_half_the_distance_needs_four_times_the_rounds():
    assert rounds_to_settle(-0.14, -0.02, 0.05, 0.05, 10) == 41


def test_an_effect_at_the_very_threshold_is_never_settled():
    assert rounds_to_settle(-0.10, 0.0, 0.05, 0.05, 10) is None


def test_what_is_settled_most_easily_may_be_that_nothing_happens():
    assert rounds_to_settle(-0.06, 0.04, 0.05, 0.20, 10) == 16


def test_an_effect_between_threshold_and_noise_floor_is_not_settled_by_more_rounds():
    assert rounds_to_settle(-0.14, -0.06, 0.05, 0.20, 10) is None


def test_a_p99_is_judged_from_twenty_rounds_of_three_thousand_requests():
    primary = FASTER.model_copy(update={"metric": "p99_ms"})
    few = effect(synthetic.day_11(), synthetic.from_ratios([0.5] * 20), "p99_ms", "ttl", 1)
    assert (few.ratio, few.refused) == (None, "a p99 takes 3,000 requests a block")
    enough = few.model_copy(update={"ratio": 0.5, "low": 0.5, "high": 0.5, "ratios": [0.5] * 19, "refused": ""})
    told = decide(primary, enough, [], quick=True)
    assert (told.word, told.reason, told.rounds_to_settle) == ("INCONCLUSIVE", "a p99 takes 20 rounds", 20)
    assert decide(primary, enough.model_copy(update={"ratios": [0.5] * 20}), [], quick=False).word == "CONFIRMED"


def test_a_planted_outlier_block_does_not_flip_the_verdict():
    clean = [0.80, 0.83, 0.78, 0.81, 0.82, 0.79, 0.84, 0.80, 0.77, 0.81]
    for planted in (10.0, 0.01):
        assert verdict([*clean[:9], planted]).word == verdict(clean).word == "CONFIRMED"


def test_variants_whose_error_rates_differ_are_not_compared_on_latency():
    blocks = synthetic.rounds(4, ttl={"milliseconds": 5.0, "failed": 300})
    measured = effect(synthetic.day_11(), blocks, "p50_ms", "ttl", 1)
    assert (measured.ratio, "error rates differ" in measured.refused) == (None, True)
    assert decide(FASTER, measured, [], quick=False).word == "INCONCLUSIVE"


def test_figures_per_request_are_per_successful_request():
    blocks = synthetic.rounds(3, ttl={"failed": 500})
    assert effect(synthetic.day_11(), blocks, "db_queries_per_request", "ttl", 1).ratio == pytest.approx(2.0)


def test_broken_guards_spoil_a_comparison_of_times_but_not_of_counts():
    blocks = synthetic.rounds(4, ttl={"queries": 700, "milliseconds": 5.0})
    timed = effect(synthetic.day_11(), blocks, "p50_ms", "ttl", 1)
    counted = effect(synthetic.day_11(), blocks, "db_queries_per_request", "ttl", 1)
    assert decide(FASTER, timed, ["dropped"], quick=False).word == "INCONCLUSIVE"
    assert decide(FEWER, counted, ["dropped"], quick=False).word == "CONFIRMED"


def test_an_exact_metric_shows_the_range_of_its_rounds_and_has_no_p():
    blocks = synthetic.rounds(3, ttl={"queries": lambda i: 700 + 10 * i})
    measured = effect(synthetic.day_11(), blocks, "db_queries_per_request", "ttl", 1)
    assert (measured.low, measured.high, measured.p) == (pytest.approx(0.71), pytest.approx(0.73), None)
    assert measured.ratio == pytest.approx(0.72)


def test_a_round_without_its_partner_does_not_count():
    blocks = [*synthetic.rounds(2, ttl={"queries": 500}), synthetic.block(3, "off", queries=9999)]
    measured = effect(synthetic.day_11(), blocks, "db_queries_per_request", "ttl", 1)
    assert (len(measured.ratios), measured.before) == (2, pytest.approx(1.0))


def test_percentiles_come_from_merged_histograms_not_from_means_of_percentiles():
    blocks = synthetic.rounds(2, off={"milliseconds": lambda i: 10.0 if i == 1 else 100.0})
    measured = effect(synthetic.day_11(), blocks, "p50_ms", "ttl", 1)
    assert measured.before == pytest.approx(10.0, rel=0.01)


def test_a_figure_of_nought_has_no_ratio_and_says_so():
    measured = effect(synthetic.day_11(), synthetic.rounds(2), "failed_share", "ttl", 1)
    assert (measured.ratio, measured.refused) == (None, "a figure is zero, so there is no ratio")


def test_what_is_counted_may_come_down_to_nought():
    measured = effect(synthetic.day_11(), synthetic.rounds(3, ttl={"queries": 0}), "db_queries_per_request", "ttl", 1)
    assert (measured.ratio, measured.low, measured.high) == (0, 0, 0)
    assert decide(FEWER, measured, [], quick=False).word == "CONFIRMED"


def test_a_round_in_which_nothing_was_counted_on_either_side_is_one_without_change():
    blocks = synthetic.rounds(3, off={"queries": lambda i: 0 if i == 1 else 100}, ttl={"queries": 0})
    measured = effect(synthetic.day_11(), blocks, "db_queries_per_request", "ttl", 1)
    assert (measured.ratios, measured.ratio) == ([1, 0, 0], 0)
    assert decide(FEWER, measured, [], quick=False).word == "INCONCLUSIVE"


def test_a_baseline_of_nought_has_no_ratio():
    measured = effect(synthetic.day_11(), synthetic.rounds(2, off={"queries": 0}), "db_queries_per_request", "ttl", 1)
    assert (measured.ratio, measured.refused) == (None, "a figure is zero, so there is no ratio")

"""Statistics judged from outside: simulated experiments whose truth is known. `make bench-statistics` does the rest."""

import numpy as np
import pytest

from benchmarks import lab_statistics as simulated
from costlab.lab import histogram, statistics
from costlab.lab.block import Latencies
from costlab.lab.effect import effect
from costlab.lab.experiment import Primary
from costlab.lab.plan import plan
from costlab.lab.verdict import decide
from tests.unit.lab import synthetic


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    """The simulations ask for thousands of intervals; 300 draws place the ends of each well enough."""
    monkeypatch.setattr(statistics, "DRAWS", 300)


@pytest.mark.parametrize("noise", ["independent", "lasting, 0.5", "lasting, 0.9"])
def test_of_a_thousand_identical_pairs_at_most_one_in_twenty_is_confirmed(noise):
    """With a threshold of nought; one of 5 % would leave none."""
    assert simulated.false_confirmed(simulated.NOISES[noise], rounds=10) <= 0.05


def test_quick_runs_of_identical_pairs_are_not_confirmed_more_often():
    assert simulated.false_confirmed(simulated.NOISES["lasting, 0.5"], rounds=4) <= 0.05


@pytest.mark.parametrize("noise", ["independent", "lasting, 0.5", "wild"])
@pytest.mark.parametrize(("rounds", "change"), [(4, 0.05), (10, 0.10), (20, 0.20)])
def test_the_interval_covers_the_truth_as_often_as_it_claims(noise, rounds, change):
    covered = simulated.coverage(simulated.NOISES[noise], rounds, change, trials=400)
    assert 0.92 <= covered <= 0.98


def test_without_the_stretch_the_interval_of_a_quick_run_would_cover_far_less(monkeypatch):
    monkeypatch.setattr(
        statistics, "stretched", lambda estimate, drawn, rounds: tuple(np.quantile(drawn, [0.025, 0.975]))
    )
    assert simulated.coverage(simulated.NOISES["independent"], rounds=4, change=0.1, trials=400) < 0.90


@pytest.mark.parametrize(("change", "power"), [(0.10, 0.8), (0.20, 0.99)])
def test_a_real_effect_is_found(change, power):
    assert simulated.found(lambda random, rounds: random.normal(0, 0.02, rounds), 10, change, trials=300) >= power


@pytest.mark.parametrize("factor", [0.1, 10.0])
@pytest.mark.parametrize(("change", "spread"), [(0.0, 0.01), (0.20, 0.01), (0.20, 0.03)])
def test_a_planted_outlier_block_does_not_flip_a_verdict(monkeypatch, change, spread, factor):
    monkeypatch.setattr(statistics, "DRAWS", 2000)  # an outlier shows in the very tail of the draws
    assert simulated.flipped(rounds=10, change=change, factor=factor, trials=30, spread=spread) == (0, 0)


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_in_a_quick_run_an_outlier_leaves_doubt_and_never_the_opposite_verdict(factor):
    assert simulated.flipped(rounds=4, change=0.20, factor=factor, trials=200)[1] == 0


@pytest.mark.parametrize(("rounds", "change", "spread"), [(4, 0.10, 0.08), (10, 0.0, 0.09)])
def test_as_many_rounds_as_an_inconclusive_verdict_names_mostly_settle_it(rounds, change, spread):
    outcome = simulated.settled(rounds, change, spread, trials=100)
    assert outcome.asked > 30
    assert outcome.share > 0.5 > outcome.share_of_a_quarter


def test_eight_days_reported_together_raise_no_more_false_alarms_than_one():
    plain, corrected = simulated.family(size=8, rounds=10, trials=500)
    assert corrected <= 0.05 < plain


def test_the_same_seed_gives_the_same_plan_interval_and_verdict():
    for seed in (0, 1, 2**32 - 1):
        assert plan(["off", "on", "more"], 20, seed) == plan(["off", "on", "more"], 20, seed)
        values = simulated.lasting(np.random.default_rng(seed), 10, 0.5)
        assert simulated.judge(values, 0.05, seed) == simulated.judge(values, 0.05, seed)


def _autocorrelated_requests(random, runs, requests):
    """Latencies in seconds; the logarithm of each remembers half of that of the request before it."""
    logarithms = np.empty((runs, requests))
    logarithms[:, 0] = random.normal(0, 0.3, runs)
    for i in range(1, requests):
        logarithms[:, i] = 0.5 * logarithms[:, i - 1] + np.sqrt(0.75) * random.normal(0, 0.3, runs)
    return 0.01 * np.exp(logarithms)


def test_from_requests_to_verdict_a_hundred_identical_pairs_with_autocorrelated_requests():
    """The whole way: requests, histograms, percentiles, ratios, interval, verdict."""
    random = np.random.default_rng(5)
    primary = Primary(metric="p50_ms", variant="ttl", direction="lower", smallest_effect=0.0)
    declared, template = synthetic.day_11(), synthetic.rounds(10)
    words = []
    for trial in range(100):
        latencies = _autocorrelated_requests(random, len(template), 200)
        blocks = [
            block.model_copy(update={"latencies": Latencies(histogram=histogram.count(own), by_request={})})
            for block, own in zip(template, latencies, strict=True)
        ]
        words.append(decide(primary, effect(declared, blocks, "p50_ms", "ttl", trial), [], quick=False).word)
    assert words.count("CONFIRMED") <= 5


@pytest.mark.parametrize("rounds", [4, 10])
def test_the_interval_carried_over_to_a_bill_covers_the_truth_as_often_as_it_claims(rounds):
    """A bill is a mean over rounds, drawn again in the same way."""
    random = np.random.default_rng(rounds)
    inside = 0
    for trial in range(400):
        usd = random.normal(30, 3, rounds)
        drawn = usd[statistics.resamples(rounds, trial)].mean(axis=1)
        low, high = statistics.stretched(float(usd.mean()), drawn, rounds)
        inside += low <= 30 <= high
    assert 0.92 <= inside / 400 <= 0.98

"""The windowed p95."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.windowed_p95 import STEP, WINDOW, WindowedP95, nearest_rank

SAMPLES = st.lists(st.floats(0, 100), min_size=1, max_size=3 * WINDOW)


@settings(deadline=None, max_examples=50)
@given(SAMPLES)
def test_95_percent_do_not_exceed_it_and_with_any_smaller_sample_fewer_would_do(samples):
    found = nearest_rank(samples)
    assert 100 * sum(sample <= found for sample in samples) >= 95 * len(samples)
    assert 100 * sum(sample < found for sample in samples) < 95 * len(samples)


@settings(deadline=None, max_examples=50)
@given(SAMPLES)
def test_it_is_that_of_the_last_window_every_few_samples(samples):
    estimate = WindowedP95()
    for count, sample in enumerate(samples, start=1):
        estimate.add(sample)
        known = samples[: count - count % STEP][-WINDOW:]
        assert estimate.value == (nearest_rank(known) if known else None)

"""The retry budget: attempts never exceed (1 + share) x requests + burst, in any order of requests and failures."""

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from costlab.resilience.retry_budget import RetryBudget


def attempts_of(budget, share, wanted):
    """Attempts made by requests that want ``wanted`` retries each."""
    made = 0
    for retries in wanted:
        budget.deposit(share)
        made += 1
        for _ in range(retries):
            if not budget.take():
                break
            made += 1
    return made


@given(st.lists(st.integers(0, 5), max_size=300), st.floats(0.01, 1), st.integers(0, 20))
def test_attempts_never_exceed_the_share_and_the_burst(wanted, share, burst):
    made = attempts_of(RetryBudget(burst), share, wanted)
    assert made <= (1 + share) * len(wanted) + burst + 1e-6


@given(st.lists(st.integers(0, 5), max_size=300))
def test_a_budget_of_ten_percent_holds_attempts_to_one_point_one_times_the_requests_and_ten(wanted):
    assert attempts_of(RetryBudget(), 0.1, wanted) <= 1.1 * len(wanted) + 10 + 1e-6


def test_when_every_request_fails_the_share_is_used_up_and_no_more():
    """100 requests that would each make 3 attempts: the burst of 10 and a tenth of 100 are retried."""
    assert attempts_of(RetryBudget(), 0.1, [2] * 100) in (119, 120)


def test_rare_failures_are_all_retried():
    """One failure in twenty never meets an empty bucket at a share of a tenth."""
    assert attempts_of(RetryBudget(), 0.1, [1 if request % 20 == 0 else 0 for request in range(2000)]) == 2100


def test_a_quiet_time_saves_up_no_more_than_the_burst():
    budget = RetryBudget(burst=3)
    for _ in range(1000):
        budget.deposit(0.5)
    assert [budget.take() for _ in range(4)] == [True, True, True, False]


def test_threads_at_once_do_not_spend_a_token_twice():
    budget = RetryBudget(burst=100)
    with ThreadPoolExecutor(8) as pool:
        granted = list(pool.map(lambda _: budget.take(), range(500)))
    assert sum(granted) == 100

"""Layouts of a series: the same figures from the same bytes."""

import statistics
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders import series
from services.orders.models import Totals
from tests.services.conftest import counted

LAYOUTS = ("list", "array", "numpy")
# The largest order there can be: 50 lines of 1,000 pieces at the highest price.
NUMBERS = st.integers(0, 50 * 1000 * 49_500)


def encoded(numbers):
    return struct.pack(f">{len(numbers)}q", *numbers)


@given(numbers=st.lists(NUMBERS))
def test_every_layout_computes_the_same_figures(numbers):
    assert len({series.summarize(layout, encoded(numbers)) for layout in LAYOUTS}) == 1


@pytest.mark.parametrize("layout", LAYOUTS)
@given(numbers=st.lists(st.integers(-(10**12), 10**12), min_size=1))
def test_the_figures_are_those_of_the_numbers(layout, numbers):
    summary = series.summarize(layout, encoded(numbers))
    assert (summary.count, summary.total, summary.largest) == (len(numbers), sum(numbers), max(numbers))
    assert summary.percentiles[0] == statistics.median_low(numbers)
    for percentile, value in zip(series.PERCENTILES, summary.percentiles, strict=True):
        assert sum(number <= value for number in numbers) * 100 >= percentile * len(numbers)
        assert sum(number < value for number in numbers) * 100 < percentile * len(numbers)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_numbers_are_no_error(layout):
    assert series.summarize(layout, b"") == (0, 0, 0, (0, 0, 0))


def test_a_list_takes_more_than_four_times_the_memory_of_an_array():
    numbers = struct.pack(">20000q", *range(10**6, 10**6 + 20_000))
    assert _peak("list", numbers) > 4 * _peak("numpy", numbers)


def _peak(layout, numbers):
    series.summarize(layout, numbers[:8])
    tracemalloc.start()
    series.summarize(layout, numbers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_distribution_is_that_of_all_orders_in_one_query(client, set_flag, database, layout):
    set_flag("orders.series", layout)
    with counted() as queries:
        totals = Totals.model_validate(client.get("/orders/stats/totals").json)
    assert queries() == 1
    expected = database.rows(
        "select count(*), sum(total_cents)::bigint, max(total_cents),"
        " percentile_disc(array[0.5, 0.9, 0.99]) within group (order by total_cents) from orders.orders"
    )[0]
    assert (totals.orders, totals.revenue_cents, totals.largest_cents) == expected[:3]
    assert list(totals.percentiles_cents.values()) == expected[3]


def test_it_takes_no_query_parameters(client):
    assert client.get("/orders/stats/totals?layout=list").status_code == 422

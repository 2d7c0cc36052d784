"""Columnar catalogue: what went in comes out, in a tenth of the memory of dicts."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.catalogue.columnar import Columnar
from services.orders.seed import products

COLUMNS = ("id", "name", "category", "price_cents", "weight_grams", "stock")
INTEGERS = st.integers(0, 2**31 - 1)
ROWS = st.lists(
    st.tuples(st.integers(1, 2**63 - 1), st.text(max_size=30), st.sampled_from("abc"), INTEGERS, INTEGERS, INTEGERS),
    unique_by=lambda row: row[0],
).map(sorted)


@given(rows=ROWS, other=st.integers(-(2**70), 2**70))
def test_every_product_comes_out_as_it_went_in_and_no_other(rows, other):
    catalogue = Columnar(rows)
    assert len(catalogue) == len(rows)
    for row in rows:
        assert catalogue.get(row[0]) == dict(zip(COLUMNS, row, strict=True))
        assert catalogue.price_cents(row[0]) == row[3]
    if other not in {row[0] for row in rows}:
        assert catalogue.get(other) is None
        assert catalogue.price_cents(other) is None


def test_products_out_of_order_are_refused():
    with pytest.raises(ValueError, match="in the order of their ids: 1 after 2"):
        Columnar([(2, "a", "b", 1, 1, 1), (1, "a", "b", 1, 1, 1)])


def test_a_number_over_its_column_is_refused_not_cut():
    with pytest.raises(OverflowError):
        Columnar([(1, "a", "b", 2**31, 1, 1)])


def test_a_product_takes_about_fifty_bytes_and_a_dict_about_ten_times_that():
    columnar = allocated(lambda rows: Columnar(rows))
    dicts = allocated(lambda rows: {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in rows})
    assert columnar < 80
    assert dicts > 5 * columnar


def allocated(build) -> float:
    """Bytes that each of 20,000 products takes."""
    rows = [row for row, _ in zip(products(), range(20_000), strict=False)]
    encoded = [tuple(str(value) if isinstance(value, str) else value for value in row) for row in rows]
    tracemalloc.start()
    held = build(fresh(encoded))
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(held)


def fresh(rows):
    """Rows as a database driver gives them: objects of their own, dropped unless somebody keeps them."""
    for number, name, category, *rest in rows:
        yield number, name.encode().decode(), category, *[int(str(value)) for value in rest]

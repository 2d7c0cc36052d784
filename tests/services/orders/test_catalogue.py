"""Memory layouts of the catalogue: each answers what went in, in the memory its shape promises."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.catalogue import COLUMNS
from services.orders.catalogue.layouts import LAYOUTS
from services.orders.seed import products

BISECTED = ("struct_packed", "struct_misordered", "struct_ordered", "columnar")
INTEGERS = st.integers(0, 2**31 - 1)
ROWS = st.lists(
    st.tuples(st.integers(1, 2**63 - 1), st.text(max_size=30), st.sampled_from("abc"), INTEGERS, INTEGERS, INTEGERS),
    unique_by=lambda row: row[0],
).map(sorted)


@given(rows=ROWS, other=st.integers(-(2**70), 2**70))
def test_every_layout_answers_every_product_as_it_went_in_and_no_other(rows, other):
    documents = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in rows}
    for kind in LAYOUTS.values():
        catalogue = kind(iter(rows))
        assert len(catalogue) == len(rows)
        for product_id in [*documents, other]:
            document = documents.get(product_id)
            assert catalogue.get(product_id) == document
            assert catalogue.price_cents(product_id) == (document and document["price_cents"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_asked_twice_is_the_same_twice(layout):
    catalogue = LAYOUTS[layout]([(1, "a", "b", 2, 3, 4)])
    assert catalogue.get(1) == catalogue.get(1)
    assert list(catalogue.get(1)) == list(COLUMNS)


@pytest.mark.parametrize("layout", BISECTED)
def test_products_out_of_order_are_refused_where_they_are_found_by_bisection(layout):
    with pytest.raises(ValueError, match="in the order of their ids: 1 after 2"):
        LAYOUTS[layout]([(2, "a", "b", 1, 1, 1), (1, "a", "b", 1, 1, 1)])


@pytest.mark.parametrize("layout", BISECTED)
@pytest.mark.parametrize("row", [(1, "a", "b", 2**31, 1, 1), (1, "a", "b", 1, 1, 2**31), (2**63, "a", "b", 1, 1, 1)])
def test_a_number_over_its_width_is_refused_not_cut(layout, row):
    with pytest.raises(OverflowError):
        LAYOUTS[layout]([row])


@pytest.mark.parametrize("layout", BISECTED)
def test_more_categories_than_a_byte_can_name_are_refused(layout):
    with pytest.raises(OverflowError):
        LAYOUTS[layout]([(number, "a", f"category {number}", 1, 1, 1) for number in range(1, 258)])


def test_each_layout_takes_the_memory_its_docstring_says():
    """Bytes for each product; bounds wide enough for every Python from 3.11 on."""
    size = {name: allocated(kind) for name, kind in LAYOUTS.items()}
    assert size["dict_per_row"] > 1.4 * size["dict_shared_keys"]
    assert size["dict_shared_keys"] > 1.1 * size["class"]
    assert size["class"] > 1.02 * size["slots"]
    assert size["slots"] > 4 * size["struct_misordered"]
    assert size["struct_misordered"] - size["struct_ordered"] == pytest.approx(8, abs=0.5)
    assert size["struct_ordered"] - size["struct_packed"] == pytest.approx(3, abs=0.5)
    assert size["columnar"] < 80


def allocated(build) -> float:
    """Bytes that each of 20,000 products takes."""
    rows = [row for row, _ in zip(products(), range(20_000), strict=False)]
    encoded = [tuple(str(value) if isinstance(value, str) else value for value in row) for row in rows]
    build(fresh(encoded[:2]))
    tracemalloc.start()
    held = build(fresh(encoded))
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(held)


def fresh(rows):
    """Rows as a database driver gives them: objects of their own, dropped unless somebody keeps them."""
    for number, name, category, *rest in rows:
        yield int(str(number)), name.encode().decode(), category.encode().decode(), *[int(str(value)) for value in rest]

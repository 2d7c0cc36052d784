"""Offset and keyset paging: the same pages while nothing changes, and who notices when something does."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.orders import paging
from services.orders.models import MAX_PAGE
from services.orders.paging import Token

LINES = [{"product_id": 5, "quantity": 1, "price_cents": 100}]
POSITIONS = st.integers(0, 10**18 - 1)


@given(order_id=st.integers(1, 2**63 - 1), position=st.none() | POSITIONS)
def test_a_token_is_read_as_it_was_written(order_id, position):
    written = str(order_id) if position is None else f"{order_id}.{position}"
    assert paging.parse(written) == Token(order_id, position)


@given(text=st.text(max_size=25).filter(lambda text: not text[:1].isdigit()) | st.sampled_from(["0", "9" * 19, "1."]))
def test_any_other_text_is_no_token(text):
    with pytest.raises(ValueError, match="expected what `next` of the page before gave"):
        paging.parse(text)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(user_id=st.integers(50, 10_000), limit=st.integers(1, MAX_PAGE), turns=st.lists(st.booleans(), min_size=1))
def test_pages_are_the_same_whichever_way_finds_them_and_however_often_the_way_changes(
    offset, keyset, database, user_id, limit, turns
):
    visited, after, step = [], None, 0
    while True:
        store = offset if turns[step % len(turns)] else keyset
        orders, following = store.history(user_id, limit, after)
        visited += [order["id"] for order in orders]
        if following is None:
            break
        assert len(orders) == limit
        after, step = paging.parse(str(following)), step + 1
    own = database.rows("select id from orders.orders where user_id = %s order by id desc", user_id)
    assert visited == [row[0] for row in own]


def test_a_position_beyond_the_last_order_is_an_empty_page(offset):
    assert offset.history(50, 20, Token(1, 10**18 - 1)) == ([], None)


def test_an_order_placed_between_two_pages_is_no_matter_to_keyset_but_repeats_one_under_offset(offset, keyset):
    for store, repeated in ((keyset, 0), (offset, 1)):
        first, following = store.history(51, 10, None)
        store.add(51, LINES, None)
        second, _ = store.history(51, 10, paging.parse(str(following)))
        ids = [order["id"] for order in first + second]
        assert len(ids) - len(set(ids)) == repeated


def test_a_deep_page_reads_as_many_rows_as_a_first_one_by_keyset_and_all_before_it_by_offset(database, offset, keyset):
    """Counted by PostgreSQL: rows that came out of the scan of orders."""
    deep = offset.history(1, 1, Token(1, 5000))[0][0]["id"]
    assert scanned(database, paging.keyset.page(1, 20, Token(deep))) == 21
    assert scanned(database, paging.offset.page(1, 20, Token(deep, 5000))) == 5021


def scanned(database, page) -> int:
    with database.connect("orders") as link, link.cursor() as statements:
        statements.execute(f"explain (analyze, format json) {page.statement}", page.parameters)
        plan = statements.fetchone()[0][0]["Plan"]
    while "Plans" in plan:
        plan = plan["Plans"][0]
    return plan["Actual Rows"]


@pytest.fixture
def offset(make_store):
    return make_store(**{"orders.paging": "offset"})


@pytest.fixture
def keyset(make_store):
    return make_store(**{"orders.paging": "keyset"})

"""Keyset paging: every order of a user exactly once, newest first, whatever the page size."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.orders.models import MAX_PAGE
from services.orders.paging import Token

LINES = [{"product_id": 5, "quantity": 1, "price_cents": 100}]


def pages(store, user_id, limit):
    after = None
    while True:
        orders, following = store.history(user_id, limit, after)
        yield [order["id"] for order in orders]
        if following is None:
            return
        after = Token(following)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(user_id=st.integers(60, 10_000), limit=st.integers(1, MAX_PAGE))
def test_paging_visits_each_order_exactly_once_newest_first(store, database, user_id, limit):
    visited = list(pages(store, user_id, limit))
    own = database.rows("select id from orders.orders where user_id = %s order by id desc", user_id)
    assert [order for page in visited for order in page] == [row[0] for row in own]
    assert all(len(page) == limit for page in visited[:-1])


def test_the_last_page_has_no_next_even_when_it_is_full(store, database):
    user_id, orders = database.rows(
        "select user_id, count(*) from orders.orders group by user_id having count(*) = 8 limit 1"
    )[0]
    page, following = store.history(user_id, orders, None)
    assert len(page) == orders
    assert following is None


def test_an_order_placed_between_two_pages_moves_nothing(store):
    first, following = store.history(50, 10, None)
    store.add(50, LINES, None)
    second, _ = store.history(50, 10, Token(following))
    assert min(order["id"] for order in first) > max(order["id"] for order in second)
    assert store.history(50, 21, None)[0][1:] == first + second

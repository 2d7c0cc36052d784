"""N+1, join and batch: the same orders with the same lines, in a different number of statements."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.orders.models import MAX_PAGE
from services.orders.paging import Token
from tests.services.conftest import counted

WAYS = ("n_plus_one", "join", "batch")
TOKENS = st.none() | st.builds(Token, st.integers(1, 100_000))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    user_id=st.integers(1, 10_001),
    limit=st.integers(1, MAX_PAGE),
    after=st.none() | st.builds(Token, st.integers(1, 100_000)),
)
def test_every_way_answers_the_same_page(stores, user_id, limit, after):
    pages = [store.history(user_id, limit, after) for store in stores.values()]
    assert pages[0] == pages[1] == pages[2]


@pytest.mark.parametrize(("way", "statements"), [("n_plus_one", 21), ("join", 1), ("batch", 2)])
def test_a_page_of_twenty_takes(stores, way, statements):
    with counted() as queries:
        orders, _ = stores[way].history(1, 20, None)
    assert len(orders) == 20
    assert queries() == statements


@pytest.mark.parametrize("way", WAYS)
def test_an_order_without_lines_is_answered_without_lines(stores, database, way):
    order_id = database.one("insert into orders.orders (user_id, total_cents) values (10002, 0) returning id")
    orders, following = stores[way].history(10_002, 20, None)
    database.rows("delete from orders.orders where id = %s", order_id)
    assert [order["lines"] for order in orders] == [[]]
    assert following is None


@pytest.fixture
def stores(make_store):
    return {way: make_store(**{"orders.queries": way}) for way in WAYS}

"""Seed data: as much as promised, the same everywhere, and nothing in it points at nothing."""

from collections import Counter
from itertools import islice

import pytest

from services.orders import seed as orders_seed
from services.users import seed as users_seed


def test_the_amounts_are_those_promised(database):
    assert database.one("select count(*) from users.users where id between 1 and 10000") == 10_000
    assert database.one("select count(*) from orders.products where id between 1 and 200000") == 200_000
    assert database.one("select count(*) from orders.orders where id between 1 and 100000") == 100_000
    lines = "select min(n), max(n) from (select count(*) as n from orders.order_lines where order_id <= 100000 "
    assert database.rows(f"{lines} group by order_id) as lines") == [(1, 5)]


def test_every_line_has_its_order_and_its_product(database):
    """Foreign keys are not checked while seeding, so this checks what they would."""
    dangling = "select count(*) from orders.order_lines as line left join orders.{0} as other on line.{1} = other.id"
    for table, column in (("orders", "order_id"), ("products", "product_id")):
        assert database.one(f"{dangling} where other.id is null".format(table, column)) == 0


def test_every_order_has_a_user_and_its_total_is_that_of_its_lines(database):
    assert (
        database.one("select count(*) from orders.orders where id <= 100000 and user_id not between 1 and 10000") == 0
    )
    totals = "select order_id, sum(quantity * price_cents) as total from orders.order_lines group by order_id"
    wrong = "select count(*) from orders.orders join ({}) as lines on order_id = id where total <> total_cents"
    assert database.one(wrong.format(totals)) == 0


def test_a_line_has_the_price_of_its_product(database):
    joined = (
        "select count(*) from orders.order_lines as line join orders.products as product on product_id = product.id"
    )
    assert database.one(f"{joined} where order_id <= 100000 and line.price_cents <> product.price_cents") == 0


def test_new_rows_get_ids_after_those_of_the_seed(database):
    assert database.one("select nextval('users.users_id_seq')") > 10_000
    assert database.one("select nextval('orders.orders_id_seq')") > 100_000


def test_the_same_rows_come_out_every_time():
    assert list(users_seed.users()) == list(users_seed.users())
    first = list(islice(orders_seed.products(), 1000))
    assert first == list(islice(orders_seed.products(), 1000))
    prices = [row[3] for row in first]
    assert list(orders_seed.order_lines(prices)) == list(orders_seed.order_lines(prices))


def test_the_most_popular_user_orders_about_ten_times_as_much_as_the_tenth():
    """Zipf with exponent 1: the k-th is drawn with weight 1/k."""
    drawn = Counter(row[1] for row in orders_seed.orders([]))
    assert 8 < drawn[1] / drawn[10] < 12


@pytest.mark.parametrize("user", [1, 20, 300, 9999, 123456])
def test_a_page_of_history_is_read_from_an_index(database, user):
    """At 100,000 orders. The most popular users have so many that walking back all orders by id is as cheap."""
    plan = explain(
        database, "select * from orders.orders where user_id = %s and id < 90000 order by id desc limit 21", user
    )
    assert "Index Scan" in plan
    assert "Seq Scan" not in plan
    assert ("orders_history" in plan) or user == 1


def test_the_lines_of_a_page_are_read_from_an_index(database):
    ids = list(range(500, 521))
    plan = explain(
        database, "select * from orders.order_lines where order_id = any(%s::bigint[]) order by order_id, position", ids
    )
    assert "Index Scan using order_lines_pkey" in plan
    assert "Sort" not in plan


def explain(database, statement: str, *parameters: object) -> str:
    return "\n".join(row[0] for row in database.rows(f"explain {statement}", *parameters))

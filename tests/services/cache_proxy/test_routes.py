"""Which origin a path belongs to, and which spellings of a question are one question."""

import pytest

from services.cache_proxy import routes


@pytest.mark.parametrize(
    ("path", "origin", "label"),
    [
        ("/users", "users", "/users"),
        ("/users/7", "users", "/users/{id}"),
        ("/users/7/orders", "orders", "/users/{id}/orders"),
        ("/products/200000", "orders", "/products/{id}"),
        ("/orders/stats", "orders", "/orders/stats"),
        ("/orders/1", "orders", "/orders/{id}"),
        ("/orders", "orders", "/orders"),
    ],
)
def test_a_path_has_the_origin_that_owns_it(path, origin, label):
    assert routes.match(path) == (label, origin)


@pytest.mark.parametrize("path", ["/", "/user", "/users/", "/users/x", "/users/7/", "/users//7", "/orders/7/lines"])
def test_a_path_outside_the_table_has_none(path):
    assert routes.match(path) is None


@pytest.mark.parametrize("path", ["/users/../orders/1", "/users/%37", "/users/7%2Forders", "/users/7;x", "/users/-1"])
def test_a_path_that_could_mean_another_one_has_none(path):
    assert routes.match(path) is None


def test_the_order_of_parameters_makes_no_difference():
    assert routes.target("/users", "b=2&a=1") == routes.target("/users", "a=1&b=2")


def test_the_order_of_values_of_one_parameter_may_make_one():
    assert routes.target("/users", "a=2&a=1") != routes.target("/users", "a=1&a=2")


@pytest.mark.parametrize("path", ["/users/007", "/users/07", "/users/7"])
def test_an_id_is_the_same_however_it_is_padded(path):
    """Or an invalidation of /users/7 would leave /users/007 stale."""
    assert routes.target(path, "") == ("/users/7", "/users/7")


@pytest.mark.parametrize("path", ["/users/0", "/users/00"])
def test_zero_stays_zero(path):
    assert routes.target(path, "") == ("/users/0", "/users/0")

"""Request ids as they come in from outside, and the time a request has left."""

import pytest

from costlab.service import context


def test_a_harmless_request_id_is_kept():
    assert context.request_id("order-17_a.B") == "order-17_a.B"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"b', "a\nb", "ä"])
def test_a_request_id_that_could_harm_a_log_is_replaced(given):
    assert context.request_id(given) != given
    assert len(context.request_id(given)) == 16


def test_remaining_time_never_goes_below_zero():
    request = context.Request("id", deadline=10.0)
    assert request.remaining(now=9.0) == 1.0
    assert request.remaining(now=12.0) == 0.0

"""What HTTP allows a shared cache to store (RFC 9111)."""

import math

import pytest

from costlab.service.http_client import Answer
from services.cache_proxy import rules


def answer(status=200, body=b"{}", **headers):
    return Answer(status, [(name.replace("_", "-"), value) for name, value in headers.items()], body)


def test_a_plain_answer_200_may_be_stored():
    assert rules.may_store(answer(content_type="application/json", etag='"1"'))


@pytest.mark.parametrize("status", [201, 204, 206, 301, 304, 400, 404, 500, 503])
def test_no_other_status_may_be_stored(status):
    assert not rules.may_store(answer(status))


@pytest.mark.parametrize("directive", ["no-store", "private", "no-cache", "max-age=5, PRIVATE", 'private="x"'])
def test_what_the_origin_keeps_from_caches_is_not_stored(directive):
    assert not rules.may_store(answer(cache_control=directive))


def test_an_answer_that_varies_or_sets_a_cookie_is_not_stored():
    assert not rules.may_store(answer(vary="Accept"))
    assert not rules.may_store(answer(set_cookie="a=1"))


def test_an_answer_larger_than_the_limit_is_not_stored():
    assert rules.may_store(answer(body=b"x" * rules.MAX_STORED_BYTES))
    assert not rules.may_store(answer(body=b"x" * (rules.MAX_STORED_BYTES + 1)))


@pytest.mark.parametrize(
    ("headers", "limit"),
    [
        ({}, math.inf),
        ({"cache_control": "public"}, math.inf),
        ({"cache_control": "max-age=60"}, 60),
        ({"cache_control": "max-age=60, s-maxage=10"}, 10),
        ({"cache_control": "max-age=60", "age": "20"}, 40),
        ({"cache_control": "max-age=0"}, 0),
        ({"cache_control": 'MAX-AGE = "7"'}, 7),
        ({"cache_control": "max-age=soon"}, math.inf),
    ],
)
def test_the_origin_can_say_how_long_its_answer_is_fresh(headers, limit):
    assert rules.freshness_limit(answer(**headers)) == limit


@pytest.mark.parametrize("given", ['"1"', 'W/"1"', '"0", "1"', "*"])
def test_a_client_that_holds_the_answer_is_recognised(given):
    assert rules.matches('"1"', given)
    assert rules.matches('W/"1"', given)


@pytest.mark.parametrize(("etag", "given"), [('"1"', '"2"'), ("", "*"), ('"1"', "1")])
def test_another_answer_is_not_taken_for_it(etag, given):
    assert not rules.matches(etag, given)


@pytest.mark.parametrize("name", ["connection", "date", "server", "content-length", "age", "x-request-id"])
def test_headers_written_anew_are_not_taken_over(name):
    assert rules.returned([(name, "x"), ("etag", '"1"')]) == [("etag", '"1"')]


def test_a_client_with_credentials_is_not_served_from_the_cache():
    assert not rules.may_look({"HTTP_AUTHORIZATION": "Bearer x"})
    assert rules.may_look({"HTTP_CACHE_CONTROL": "no-cache"})

"""Invalidation: nothing that was read before a change is served after it was heard of."""

import threading

import pytest
from prometheus_client import REGISTRY
from redis import Redis

from tests.conditions import eventually
from tests.services.cache_proxy.conftest import version


def test_a_changed_path_is_asked_for_anew(stack):
    stack.get("/users/7")
    stack.change(2, "/users/7")
    assert stack.version("/users/7") == 2
    assert stack.status("/users/7") == "hit; ttl=30"


def test_every_query_of_a_changed_path_is_dropped(stack):
    targets = ["/users/7/orders", "/users/7/orders?limit=5&after=9", "/users/7/orders?fields=id,lines.quantity&limit=5"]
    for target in targets:
        stack.get(target)
    stack.change(2, "/users/7/orders")
    assert [stack.version(target) for target in targets] == [2, 2, 2]


def test_other_paths_stay(stack):
    stack.get("/users/7")
    stack.get("/users/77")
    stack.change(2, "/users/7")
    assert stack.status("/users/77") == "hit; ttl=30"


def test_several_paths_of_one_message_are_all_dropped_and_counted(stack):
    for target in ("/orders/1", "/users/7/orders", "/orders/stats"):
        stack.get(target)
    before = REGISTRY.get_sample_value("costlab_cache_invalidations_total")
    stack.change(2, "/orders/1", "/users/7/orders", "/orders/stats", "/never/asked")
    assert [stack.version(target) for target in ("/orders/1", "/users/7/orders", "/orders/stats")] == [2, 2, 2]
    assert REGISTRY.get_sample_value("costlab_cache_invalidations_total") == before + 3


def test_an_answer_read_before_a_change_and_stored_after_it_is_never_served(stack):
    """The race: the origin answers with the old state, the change is heard, only then is the old answer stored."""
    stack.origin.gate.clear()
    answers = []
    filling = threading.Thread(target=lambda: answers.append(stack.version("/users/7")))
    filling.start()
    eventually(lambda: stack.origin.asked)
    stack.change(2, "/users/7")
    stack.origin.gate.set()
    filling.join()
    assert answers == [1]
    assert stack.version("/users/7") == 2


def test_the_race_is_settled_also_when_another_fill_came_in_between(stack):
    """Old fill asks, change, new fill asks and stores, old fill stores over it: the next reader sees the new state."""
    stack.origin.gate.clear()
    filling = threading.Thread(target=lambda: stack.get("/users/7"))
    filling.start()
    eventually(lambda: stack.origin.asked)
    slow, stack.origin.gate = stack.origin.gate, threading.Event()
    stack.origin.gate.set()
    stack.change(2, "/users/7")
    assert stack.version("/users/7") == 2
    slow.set()
    filling.join()
    assert stack.version("/users/7") == 2


def test_a_fill_whose_generation_redis_has_evicted_is_not_served(stack, server):
    stack.get("/users/7")
    with Redis.from_url(server.url) as redis:
        redis.delete("cache:generation:/users/7")
    stack.origin.answer = lambda request: version(2)
    assert stack.version("/users/7") == 2


@pytest.mark.parametrize("message", [b"", b"{", b'"/users/7"', b'{"path":"/users/7"}', b"[1]", b"\xff\xfe", b"null"])
def test_a_message_that_is_not_understood_is_ignored_and_the_next_one_is_heard(stack, message):
    stack.get("/users/7")
    stack.publish(message)
    stack.change(2, "/users/7")
    assert stack.version("/users/7") == 2


def test_an_empty_list_of_paths_is_no_error(stack):
    stack.publish(b"[]")
    stack.get("/users/7")
    stack.change(2, "/users/7")
    assert stack.version("/users/7") == 2
    assert stack.get("/readyz").status_code == 200


def test_a_message_lost_while_redis_was_away_costs_at_most_the_time_to_live(stack):
    stack.get("/users/7")
    stack.origin.answer = lambda request: version(2)  # and nobody hears of it
    assert stack.version("/users/7") == 1
    stack.clock.forward(30)
    assert stack.version("/users/7") == 2

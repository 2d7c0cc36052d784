"""Which replica a request goes to: each policy by itself, and the balancer that applies them by a flag."""

from collections import Counter
from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab.service import context
from costlab.service.replica_set import ReplicaSet
from gateway.balancer import least_inflight, random_choice, two_choices
from gateway.balancer.balancer import Balancer
from gateway.balancer.in_flight import InFlight
from gateway.balancer.shuffle_shard import shard

EIGHT = tuple(f"10.0.0.{number}:8000" for number in range(1, 9))
LOADS = st.lists(st.integers(0, 20), min_size=1, max_size=8)
SEEDS = st.integers(0, 2**32)


@given(LOADS, SEEDS)
def test_least_in_flight_picks_a_minimum(loads, seed):
    picked = least_inflight.pick(range(len(loads)), loads.__getitem__, Random(seed))
    assert loads[picked] == min(loads)


@given(LOADS, SEEDS)
def test_two_choices_never_picks_a_replica_that_is_fuller_than_all_others(loads, seed):
    picked = two_choices.pick(range(len(loads)), loads.__getitem__, Random(seed))
    others = [load for number, load in enumerate(loads) if number != picked]
    assert not others or loads[picked] <= max(others)


@given(SEEDS)
def test_two_choices_looks_at_two_different_replicas_each_pair_as_often_as_the_others(seed):
    random, seen = Random(seed), Counter()
    for _ in range(1000):
        looked_at = []
        two_choices.pick(range(4), lambda number, found=looked_at: found.append(number) or 0, random)
        seen[frozenset(looked_at)] += 1
    assert len(seen) == 6
    assert all(len(pair) == 2 for pair in seen)
    assert all(abs(times - 1000 / 6) < 6 * 11.8 for times in seen.values())  # 6 standard deviations


@given(st.integers(1, 8), SEEDS)
def test_random_choice_is_fair(replicas, seed):
    random = Random(seed)
    picked = Counter(random_choice.pick(range(replicas), random) for _ in range(1000))
    deviation = (1000 * (replicas - 1)) ** 0.5 / replicas
    assert all(abs(picked[number] - 1000 / replicas) <= 6 * deviation for number in range(replicas))


@given(st.text(max_size=20), st.integers(1, 8), st.integers(1, 8))
def test_a_client_always_gets_the_same_shard_of_that_size(client, size, replicas):
    names = EIGHT[:replicas]
    mine = shard(client, names, size)
    assert mine == shard(client, names[::-1], size)
    assert len(mine) == min(size, replicas)
    assert mine <= set(names)


@given(st.text(max_size=20), st.sampled_from(EIGHT))
def test_a_replica_outside_of_the_shard_can_go_without_changing_it(client, gone):
    mine = shard(client, EIGHT, 2)
    left = tuple(name for name in EIGHT if name != gone)
    kept = mine & shard(client, left, 2)
    assert kept == mine - {gone}


def test_shards_of_2_of_8_are_28_and_about_equally_many_clients_have_each():
    shards = Counter(shard(f"client-{number}", EIGHT, 2) for number in range(2800))
    assert len(shards) == 28
    assert all(40 <= clients <= 160 for clients in shards.values())


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 3, allow_subnormal=False)), max_size=60),
    st.floats(0.1, 10),
)
def test_an_old_count_is_what_it_was_so_long_ago(events, age):
    now = [0.0]
    counts = InFlight(lambda: now[0])
    history, under_way = [(-inf, 0)], 0
    for starts, passes in events:
        now[0] += passes
        if starts or not under_way:
            counts.began("a", age)
            under_way += 1
        else:
            counts.ended("a", age)
            under_way -= 1
        history.append((now[0], under_way))
        assert counts.count("a", age) == [count for at, count in history if at <= now[0] - age][-1]


def test_a_fresh_count_is_what_it_is_now():
    counts = InFlight(lambda: 0.0)
    for _ in range(3):
        counts.began("a", 0)
    counts.ended("a", 0)
    assert counts.count("a", 0) == 2
    assert counts.count("b", 0) == 0


def test_history_is_kept_no_longer_than_it_is_asked_for():
    now = [0.0]
    counts = InFlight(lambda: now[0])
    for _ in range(1000):
        now[0] += 0.1
        counts.began("a", 1)
        counts.ended("a", 1)
    assert len(counts._counts["a"].changes) <= 22
    counts.began("a", 0)
    assert len(counts._counts["a"].changes) == 0


class Pool:
    def __init__(self, address):
        pass

    def clear(self):
        pass


@pytest.fixture
def balance(set_flags):
    """``balance(8, **flags)``: a set of so many replicas behind a balancer."""

    def replicas(number, **values):
        flags = set_flags(**values)
        urls = ",".join(f"http://10.0.0.{place}:8000" for place in range(1, number + 1))
        return ReplicaSet("users", urls, Pool, Balancer(flags), flags, clock=lambda: 0.0)

    yield replicas
    context.enter(None)


def on_behalf_of(client):
    context.enter(context.Request("abc", client=client))


def chosen(replicas, times):
    return Counter(replicas.choose(()).number for _ in range(times))


@pytest.mark.parametrize("policy", ["random", "round_robin", "two_choices", "least_inflight"])
def test_every_policy_uses_every_replica(balance, policy):
    assert set(chosen(balance(3, **{"gateway.balancer": policy}), 300)) == {1, 2, 3}


@pytest.mark.parametrize("policy", ["random", "round_robin", "two_choices", "least_inflight", "shuffle_shard"])
def test_no_policy_picks_an_ejected_replica_unless_all_are(balance, policy):
    replicas = balance(8, **{"gateway.balancer": policy, "gateway.shard_size": 5})
    out = replicas.now()[:4]
    for replica in out:
        for _ in range(3):
            replicas.began(replica)
            replicas.ended(replica, "unreachable", fair=True)
    assert set(chosen(replicas, 300)) <= {5, 6, 7, 8}
    assert replicas.choose(replicas.now()[4:]) in out


def test_with_two_choices_a_replica_that_is_stuck_gets_no_more(balance):
    replicas = balance(3, **{"gateway.balancer": "two_choices"})
    stuck = replicas.now()[1]
    for _ in range(5):
        replicas.began(stuck)
    assert set(chosen(replicas, 100)) == {1, 3}


def test_with_old_counts_a_replica_that_is_stuck_goes_on_getting_requests(balance):
    replicas = balance(3, **{"gateway.balancer": "least_inflight", "gateway.balancer_staleness": 5})
    stuck = replicas.now()[1]
    for _ in range(5):
        replicas.began(stuck)
    assert set(chosen(replicas, 100)) == {1, 2, 3}


def test_a_shard_holds_for_failover_and_retries_too(balance):
    replicas = balance(8, **{"gateway.balancer": "shuffle_shard"})
    for client in ("demo", "batch", ""):
        on_behalf_of(client)
        mine = set(chosen(replicas, 60))
        assert len(mine) == 2
        tried = []
        while replicas.untried(tried):
            tried.append(replicas.choose(tried))
        assert {replica.number for replica in tried} == mine
        assert replicas.choose(tried).number in mine


def test_a_shard_as_large_as_there_are_replicas_is_no_shard(balance):
    assert set(chosen(balance(3, **{"gateway.balancer": "shuffle_shard", "gateway.shard_size": 8}), 100)) == {1, 2, 3}


def test_round_robin_takes_turns(balance):
    picked = [replica.number for replica in map(balance(3).choose, [()] * 30)]
    assert all(after == before % 3 + 1 for before, after in pairwise(picked))

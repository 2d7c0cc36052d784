"""The replicas of an upstream as DNS names them, and whom a request is sent to."""

import pytest

from costlab.service import replica_set
from costlab.service.replica_set import Picker, ReplicaSet
from tests.conditions import eventually


class Pool:
    def __init__(self, address):
        self.address = address
        self.cleared = 0

    def clear(self):
        self.cleared += 1


class Dns:
    """Answers with ``addresses``; as OSError when there are none."""

    def __init__(self, *addresses):
        self.addresses = addresses
        self.asked = 0

    def __call__(self, host, port):
        self.asked += 1
        if not self.addresses:
            raise OSError("no such host")
        return self.addresses


@pytest.fixture
def follow(set_flags):
    """``follow(dns)``: the replicas behind http://users:8000."""
    made = []

    def start(dns, urls="http://users:8000", clock=lambda: 0.0, **values):
        made.append(ReplicaSet("users", urls, Pool, Picker(), set_flags(**values), dns, clock))
        return made[-1]

    yield start
    for replicas in made:
        replicas.close()


def numbered(replicas):
    return {replica.address.host: replica.number for replica in replicas.now()}


def test_dns_is_asked_once_and_not_by_every_request(follow):
    dns = Dns("10.0.0.1", "10.0.0.2")
    replicas = follow(dns)
    for _ in range(10):
        replicas.now()
    assert dns.asked == 1
    assert numbered(replicas) == {"10.0.0.1": 1, "10.0.0.2": 2}


def test_a_list_of_addresses_needs_no_dns(follow):
    dns = Dns()
    assert len(follow(dns, "http://127.0.0.1:1,http://127.0.0.1:2").now()) == 2
    assert dns.asked == 0


def test_without_an_answer_at_first_the_next_request_asks_again(follow):
    dns = Dns()
    replicas = follow(dns)
    with pytest.raises(OSError, match="no such host"):
        replicas.now()
    dns.addresses = ("10.0.0.1",)
    assert len(replicas.now()) == 1


def test_a_replica_that_stays_keeps_its_number_and_connections_and_a_new_one_gets_what_is_free(follow):
    dns = Dns("10.0.0.1", "10.0.0.2", "10.0.0.3")
    replicas = follow(dns)
    first, gone, third = replicas.now()
    dns.addresses = ("10.0.0.0", "10.0.0.1", "10.0.0.3", "10.0.0.4")
    replicas.look_up()
    assert numbered(replicas) == {"10.0.0.1": 1, "10.0.0.0": 2, "10.0.0.3": 3, "10.0.0.4": 4}
    assert first in replicas.now()
    assert third in replicas.now()
    assert (first.pool.cleared, gone.pool.cleared, third.pool.cleared) == (0, 1, 0)


def test_while_dns_does_not_answer_the_last_addresses_stand_and_then_the_new_ones(follow, monkeypatch):
    monkeypatch.setattr(replica_set, "LOOK_UP_SECONDS", 0.01)
    dns = Dns("10.0.0.1")
    replicas = follow(dns)
    replicas.now()
    replicas.start()
    dns.addresses = ()
    asked = dns.asked
    eventually(lambda: dns.asked > asked + 2)
    assert numbered(replicas) == {"10.0.0.1": 1}
    dns.addresses = ("10.0.0.2", "10.0.0.5")
    eventually(lambda: set(numbered(replicas)) == {"10.0.0.2", "10.0.0.5"})


def test_a_replica_that_was_tried_is_not_chosen_while_there_is_another(follow):
    replicas = follow(Dns("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    tried = []
    while replicas.untried(tried):
        tried.append(replicas.choose(tried))
    assert sorted(replica.number for replica in tried) == [1, 2, 3]
    assert replicas.choose(tried) in replicas.now()


def fail(replicas, replica, times=3):
    for _ in range(times):
        replicas.began(replica)
        replicas.ended(replica, "unreachable", fair=True)


def test_a_replica_that_keeps_failing_is_left_out_and_asked_again_later(follow):
    now = [0.0]
    replicas = follow(Dns("10.0.0.1", "10.0.0.2", "10.0.0.3"), clock=lambda: now[0])
    bad = replicas.now()[0]
    fail(replicas, bad)
    assert bad not in [replicas.choose(()) for _ in range(20)]
    assert bad not in [replicas.choose([replicas.now()[1]]) for _ in range(20)]
    now[0] = 1.1
    assert bad in [replicas.choose(()) for _ in range(3)]


def test_a_failure_for_lack_of_time_is_nobodys(follow):
    replicas = follow(Dns("10.0.0.1", "10.0.0.2"))
    bad = replicas.now()[0]
    for _ in range(10):
        replicas.ended(bad, "timeout", fair=False)
    assert bad in [replicas.choose(()) for _ in range(2)]


def test_with_ejection_off_nobody_is_left_out(follow):
    replicas = follow(Dns("10.0.0.1", "10.0.0.2"), **{"http.ejection": "off"})
    bad = replicas.now()[0]
    fail(replicas, bad, times=10)
    assert bad in [replicas.choose(()) for _ in range(2)]


def test_when_all_that_are_left_are_out_they_are_asked_all_the_same(follow):
    replicas = follow(Dns("10.0.0.1", "10.0.0.2"))
    bad, good = replicas.now()
    fail(replicas, bad)
    assert replicas.choose([good]) is bad

"""The connection pool, with connections that are plain objects."""

import threading
from concurrent.futures import Future
from functools import partial

import pytest

from costlab.service.connection_pool import ConnectionPool, PoolTimeout, StillOpening
from tests.conditions import eventually


class Peer:
    """Counts what the pool opens and closes."""

    def __init__(self):
        self.opened = 0
        self.closed = []

    def open(self):
        self.opened += 1
        return f"connection {self.opened}"

    def pool(self, size):
        return ConnectionPool("peer", self.open, self.closed.append, size)


def leave(opening):
    """Open nothing in time; ``opening`` tells how it ends."""
    raise StillOpening("late", opening)


def test_a_connection_is_lent_again_instead_of_opening_another():
    peer = Peer()
    pool = peer.pool(lambda: 2)
    for _ in range(10):
        with pool.lend(1):
            pass
    assert peer.opened == 1


def test_the_second_loan_of_a_connection_says_that_it_was_used_before():
    pool = Peer().pool(lambda: 1)
    with pool.lend(1) as (_, first):
        pass
    with pool.lend(1) as (_, second):
        pass
    assert (first, second) == (False, True)


def test_size_zero_opens_and_closes_one_connection_per_loan():
    peer = Peer()
    pool = peer.pool(lambda: 0)
    for _ in range(3):
        with pool.lend(1):
            pass
    assert peer.opened == 3
    assert len(peer.closed) == 3


def test_never_more_than_size_connections_are_out_at_once():
    peer = Peer()
    pool = peer.pool(lambda: 3)
    out, most, lock = 0, 0, threading.Lock()

    def borrow():
        nonlocal out, most
        for _ in range(50):
            with pool.lend(5):
                with lock:
                    out += 1
                    most = max(most, out)
                with lock:
                    out -= 1

    threads = [threading.Thread(target=borrow) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 3
    assert peer.opened <= 3


def test_a_caller_that_finds_all_connections_out_gives_up_in_time():
    pool = Peer().pool(lambda: 1)
    with pool.lend(1), pytest.raises(PoolTimeout, match="all 1 connections were in use"), pool.lend(0.01):
        pass


def test_a_waiting_caller_gets_the_connection_that_comes_back():
    peer = Peer()
    pool = peer.pool(lambda: 1)
    got = []

    def wait():
        with pool.lend(5) as (connection, _):
            got.append(connection)

    with pool.lend(1) as (connection, _):
        waiter = threading.Thread(target=wait)
        waiter.start()
    waiter.join()
    assert got == [connection]


def test_a_connection_on_which_something_failed_is_closed_not_lent_again():
    peer = Peer()
    pool = peer.pool(lambda: 2)
    with pytest.raises(ConnectionError), pool.lend(1):
        raise ConnectionError
    with pool.lend(1) as (connection, reused):
        assert (connection, reused) == ("connection 2", False)
    assert peer.closed == ["connection 1"]


def test_a_connection_that_cannot_be_opened_leaves_its_place_free():
    def refuse():
        raise ConnectionRefusedError

    pool = ConnectionPool("peer", refuse, lambda connection: None, lambda: 1)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError), pool.lend(0.01):
            pass


def test_a_connection_that_is_late_keeps_its_place_and_is_lent_to_the_next_caller():
    opening = Future()
    pool = ConnectionPool("peer", partial(leave, opening), lambda connection: None, lambda: 1)
    with pytest.raises(StillOpening), pool.lend(0.01):
        pass
    with pytest.raises(PoolTimeout), pool.lend(0.01):
        pass
    opening.set_result("late")
    with pool.lend(0.01) as (connection, reused):
        assert (connection, reused) == ("late", True)


def test_a_connection_that_is_late_and_then_fails_leaves_its_place_free():
    openings = [Future(), Future()]
    pool = ConnectionPool("peer", lambda: leave(openings.pop(0)), lambda connection: None, lambda: 1)
    first = openings[0]
    with pytest.raises(StillOpening), pool.lend(0.01):
        pass
    first.set_exception(ConnectionRefusedError())
    with pytest.raises(StillOpening), pool.lend(0.01):
        pass


def test_a_connection_that_is_late_for_a_pool_switched_off_is_closed():
    opening, closed = Future(), []
    pool = ConnectionPool("peer", partial(leave, opening), closed.append, lambda: 0)
    with pytest.raises(StillOpening), pool.lend(0.01):
        pass
    opening.set_result("late")
    assert closed == ["late"]


def test_instead_of_a_dead_connection_a_new_one_is_lent_and_the_idle_ones_are_closed():
    peer = Peer()
    pool = peer.pool(lambda: 2)
    with pool.lend(1), pool.lend(1):
        pass
    with pool.lend(1, is_dead=lambda connection: True) as (connection, reused):
        assert (connection, reused) == ("connection 3", False)
        assert sorted(peer.closed) == ["connection 1", "connection 2"]
    with pool.lend(1, is_dead=lambda connection: False) as (connection, reused):
        assert (connection, reused) == ("connection 3", True)


def test_making_the_pool_smaller_closes_what_is_too_much():
    peer, size = Peer(), 3
    pool = peer.pool(lambda: size)
    with pool.lend(1), pool.lend(1), pool.lend(1):
        size = 1
    assert len(peer.closed) == 2


def test_making_the_pool_larger_is_seen_by_the_next_caller():
    peer, size = Peer(), 1
    pool = peer.pool(lambda: size)
    with pool.lend(1):
        size = 2
        with pool.lend(0.01):
            assert peer.opened == 2


def test_switching_the_pool_off_lends_no_kept_connection_again():
    peer, size = Peer(), 2
    pool = peer.pool(lambda: size)
    with pool.lend(1):
        pass
    size = 0
    with pool.lend(1) as (_, reused):
        assert not reused
    assert len(peer.closed) == 2


def test_a_caller_that_waits_goes_on_when_the_pool_becomes_unlimited():
    peer, size = Peer(), 1
    pool = peer.pool(lambda: size)
    served = threading.Event()

    def wait():
        with pool.lend(5):
            served.set()

    with pool.lend(1):
        waiter = threading.Thread(target=wait)
        waiter.start()
        size = 0
    waiter.join()
    eventually(served.is_set)


def test_clear_closes_idle_connections_only():
    peer = Peer()
    pool = peer.pool(lambda: 2)
    with pool.lend(1), pool.lend(1):
        pass
    with pool.lend(1) as (lent, _):
        pool.clear()
        assert lent not in peer.closed
    assert len(peer.closed) == 1

"""The user check: what users says, and what is said when it says nothing of use."""

import socket
import threading

import pytest
from flask import Flask

from costlab.service.http_client import HttpClient
from costlab.service.problem import BadGateway, GatewayTimeout, Invalid, Unavailable
from costlab.service.tracing import Tracing
from services.orders.user_lookup import UserLookup
from tests.services.conftest import served
from tests.services.orders.conftest import StandIn


@pytest.fixture
def lookup(set_flags):
    """``lookup(url)``: the check against users at ``url``; half a second is all it waits."""
    clients = []

    def make(url, **flags):
        values = set_flags(**flags)
        client = HttpClient("users", url, values, Tracing("orders", values, None), timeout=0.5)
        clients.append(client)
        return UserLookup(values, client, client)

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (404, Invalid),
        (500, BadGateway),
        (502, BadGateway),
        (503, Unavailable),
        (504, GatewayTimeout),
        (301, BadGateway),
        (401, BadGateway),
    ],
)
def test_an_answer_that_is_not_200_becomes_the_problem_that_fits(lookup, answer, problem):
    with served(StandIn(answer).app()) as url, pytest.raises(problem):
        lookup(url).require(1)


def test_a_user_who_exists_is_no_problem(lookup):
    with served(StandIn().app()) as url:
        lookup(url).require(1)


def test_users_that_cannot_be_reached_are_502(lookup):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with pytest.raises(BadGateway, match="The user could not be checked: users cannot be reached"):
            lookup(f"http://127.0.0.1:{taken.getsockname()[1]}").require(1)


def test_users_that_do_not_answer_in_time_are_504(lookup):
    answer = threading.Event()
    app = Flask("slow")
    app.add_url_rule("/users/1", view_func=lambda: str(answer.wait(30)))
    with served(app) as url:
        with pytest.raises(GatewayTimeout, match=r"users did not answer within 0\.50 s"):
            lookup(url).require(1)
        answer.set()


def test_users_that_keep_failing_are_not_asked_and_503(lookup):
    failing = StandIn(500)
    with served(failing.app()) as url:
        check = lookup(url, **{"http.breaker": "breaker"})
        problems = []
        for _ in range(50):
            with pytest.raises((BadGateway, Unavailable)) as raised:
                check.require(1)
            problems.append(raised.type)
    assert problems[0] is BadGateway
    assert problems[-1] is Unavailable
    assert len(failing.asked) < 50

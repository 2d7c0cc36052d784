"""Whoever watches a stack being broken goes on watching."""

import pytest

from costlab.seeing.stack_reader import StackReader
from costlab.stack import StackError
from costlab.stack.control import Control, ControlError
from tests.loopback import OneService, answering


class Stack(OneService):
    """One service, which is killed whenever it answers; PostgreSQL, Redis and the rest are gone."""

    def redis_url(self):
        return "redis://127.0.0.1:9/0"

    def toxiproxy_url(self):
        return None

    def usage(self):
        raise StackError("the stack is not up")


@pytest.mark.parametrize("status", [200, 503])
def test_a_service_that_is_killed_while_it_answers_is_away_and_the_view_goes_on(tmp_path, status):
    with answering(lambda *_: (status, {"detail": "No."}), missing=100) as url:
        reading, situation = StackReader(Stack(tmp_path, url)).read()
        assert reading.scrapes == {"users": None}
        assert (situation.flags, situation.faults) == (None, [])
        with pytest.raises(ControlError):
            Control({"users": url}, "").call("GET", "/faults")

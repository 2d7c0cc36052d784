"""A run begins when nobody else drives the stack."""

import threading

import pytest

from costlab.lab import quiet
from costlab.lab.errors import LabError


class Control:
    """Each look finds the next total."""

    def __init__(self, *totals):
        self.totals = list(totals)

    def metrics(self, service):
        assert service == "gateway"
        total = self.totals.pop(0) if len(self.totals) > 1 else self.totals[0]
        return [
            ("http_server_request_duration_seconds_count", {"http_route": "/api/users/{id}"}, total - 1),
            ("http_server_request_duration_seconds_count", {"http_route": "/api/orders"}, 1),
            ("costlab_goodput_total", {}, 99),
        ]


@pytest.fixture
def waited(monkeypatch):
    monkeypatch.setattr(quiet, "LOOK_SECONDS", 0)

    def wait(*totals, times=None):
        said, moments = [], iter(times or range(100))
        quiet.wait(Control(*totals), 10, said.append, threading.Event(), lambda: next(moments))
        return said

    return wait


def test_a_quiet_stack_is_not_waited_for(waited):
    assert waited(5, 5) == []


def test_others_are_waited_for_and_that_is_said_once(waited):
    assert waited(5, 9, 12, 12) == ["somebody else sends requests to this stack; waiting until they end"]


def test_others_that_do_not_end_are_one_clear_error(waited):
    with pytest.raises(LabError, match="somebody else has sent requests to this stack for 10 s"):
        waited(*range(100))


def test_processes_that_were_started_anew_begin_at_nothing(waited):
    assert waited(50, 3) == []

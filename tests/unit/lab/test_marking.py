"""A block is marked while it is under load, and a mark that cannot be made stops nothing."""

import pytest

from costlab.lab.marking import Marking
from costlab.lab.plan import Planned
from costlab.stack.control import ControlError


class Gateway:
    def __init__(self, away: bool = False):
        self.marks, self.away = [], away

    def call(self, method, path, document, service):
        assert (method, path, service) == ("PUT", "/block", "gateway")
        if self.away:
            raise ControlError("no stack answers")
        self.marks.append(tuple(document.values()))


class Heard:
    def __init__(self):
        self.events = []

    def __getattr__(self, name):
        return lambda *given: self.events.append((name, *given))


@pytest.fixture
def heard():
    return Heard()


def block(marking, variant="on", number=2):
    marking.started(1, 4, Planned(round=number, variant=variant, seed=7))
    for share in (0.1, 0.5, 1.0):
        marking.progressed(share, {"phase": "measure"})


def test_a_block_is_marked_once_from_its_first_load_to_its_end(heard):
    gateway = Gateway()
    marking = Marking("11-caching", heard, gateway)
    marking.started(1, 4, Planned(round=2, variant="on", seed=7))
    assert gateway.marks == []
    block(marking)
    assert gateway.marks == [("11-caching", "on", 2)]
    marking.finished("the block")
    marking.close()
    assert gateway.marks[1:] == [("11-caching", "on", 0)]


def test_a_run_that_is_interrupted_leaves_no_mark(heard):
    gateway = Gateway()
    marking = Marking("11-caching", heard, gateway)
    block(marking)
    marking.close()
    assert gateway.marks[-1] == ("11-caching", "on", 0)


def test_whoever_watches_hears_everything(heard):
    marking = Marking("11-caching", heard, Gateway())
    marking.begun("experiment", "form")
    block(marking)
    marking.finished("the block")
    marking.said("something")
    names = [event[0] for event in heard.events]
    assert names == ["begun", "started", "progressed", "progressed", "progressed", "finished", "said"]


def test_a_gateway_that_is_away_is_told_of_and_the_run_goes_on(heard):
    marking = Marking("11-caching", heard, Gateway(away=True))
    block(marking)
    assert ("said", "dashboards will not name this block: no stack answers") in heard.events
    assert heard.events[-1] == ("progressed", 1.0, {"phase": "measure"})

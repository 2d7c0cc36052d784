"""Faults on a timeline: each at its second, by a clock that the test moves, and none of them left."""

import pytest

from costlab.failure import Failure
from costlab.lab.errors import LabError
from costlab.lab.experiment import PlannedFault
from costlab.lab.play import play, read_script
from costlab.lab.timeline import Timeline
from costlab.service.faults import Record, Registry

SCRIPT = """
[[faults]]
at = 5
seconds = 10
fault = "hang"
on = "orders"

[[faults]]
at = 2
seconds = 3
fault = "latency"
on = "users"
edge = "postgres"
rate = 0.5
seed = 7
parameters = { ms = 50 }
"""


class World:
    """A clock that sleeping moves, and the faults of a stack that go by it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.made: list[tuple[float, Record]] = []
        self.removed: list[str] = []
        self.others = [Record.of(Registry.load().wish({"fault": "hang", "on": "users", "ttl": 3600}), 0.0)]
        self.interrupt_at = float("inf")

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.interrupt_at:
            raise KeyboardInterrupt

    def add(self, document: dict) -> Record:
        record = Record.of(Registry.load().wish(document), self.now)
        self.made.append((self.now - 100, record))
        return record

    def remove(self, identity: str) -> None:
        self.removed.append(identity)

    def status(self) -> list[Record]:
        active = [record for _, record in self.made if record.left(self.now) and record.id not in self.removed]
        return self.others + active


@pytest.fixture
def world():
    return World()


@pytest.fixture
def script(tmp_path):
    def write(text: str):
        path = tmp_path / "script.toml"
        path.write_text(text)
        return path

    return write


def test_each_fault_comes_at_its_second_and_the_play_ends_with_the_last(world, script):
    said = []
    play(world, read_script(script(SCRIPT)), said.append, world.clock, world.sleep)
    assert [(at, record.fault, record.until - record.since) for at, record in world.made] == [
        (2, "latency", 3),
        (5, "hang", 10),
    ]
    assert world.now == pytest.approx(115, abs=0.01)
    assert world.removed == []
    assert said[0] == "   2.0 s  1/2  latency on users, edge postgres, rate 0.5, ms=50, seed 7, for 3 s"
    assert said[-1] == "  15.0 s  over"


def test_a_seed_that_was_drawn_is_printed(world, script):
    said = []
    play(world, read_script(script(SCRIPT)), said.append, world.clock, world.sleep)
    [_, (_, hang)] = world.made
    assert said[1].endswith(f"hang on orders, seed {hang.seed}, for 10 s")


def test_a_seed_of_its_own_goes_before_that_of_a_round_of_an_experiment(world):
    drawn = PlannedFault(at=0, fault="hang", on="users")
    timeline = Timeline(world, [drawn], seed=11)
    assert timeline._document(drawn)["seed"] == 11
    assert timeline._document(drawn.model_copy(update={"seed": 7}))["seed"] == 7


def test_who_interrupts_ends_what_is_in_force_and_nothing_of_anybody_else(world, script):
    world.interrupt_at = 107
    with pytest.raises(KeyboardInterrupt):
        play(world, read_script(script(SCRIPT)), lambda line: None, world.clock, world.sleep)
    [_, (_, hang)] = world.made
    assert world.removed == [hang.id]


def test_a_fault_that_is_refused_ends_the_play_and_those_before_it(world, script):
    def refuse(document: dict) -> Record:
        if document["fault"] == "hang":
            raise Failure("there is no service 'orders'")
        return World.add(world, document)

    world.add = refuse
    late = SCRIPT.replace("at = 5", "at = 3")
    with pytest.raises(Failure, match="there is no service"):
        play(world, read_script(script(late)), lambda line: None, world.clock, world.sleep)
    assert world.removed == [world.made[0][1].id]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("at = 5", "att = 5"), r"script\.toml:\d+: unknown key faults\.0\.att"),
        (('fault = "hang"', 'fault = "hangs"'), r"script\.toml:2: faults\.0: there is no fault 'hangs'"),
        (("ms = 50", "ms = 0"), r"script\.toml:8: faults\.1: ms cannot be 0(\.0)?; allowed: 1 to 60000"),
        (("seed = 7", "seed = -1"), r"faults\.1\.seed"),
        (('fault = "hang"', 'fault = "cpu_burn"\nseed = 7'), r"faults\.0: cpu_burn takes no seed: nothing about"),
        (("seconds = 10", "seconds = 7200"), r"faults\.0\.seconds"),
    ],
)
def test_a_mistake_names_its_line(script, change, says):
    with pytest.raises(LabError, match=says):
        read_script(script(SCRIPT.replace(*change)))


def test_a_script_without_faults_is_none(script):
    with pytest.raises(LabError, match="faults"):
        read_script(script(""))

"""Configuration documents: what a process accepts, and the three ways by which one reaches it."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from redis import Redis

from costlab.service import redis_client
from costlab.service.configuration import REFUSED, TAKEN, Acceptance, BadValue, Configuration, Schema
from costlab.service.flags import Flags, FlagStore, Registry
from tests.conditions import eventually


class Limits(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(100, ge=1, le=100, description="how large")
    depth: int = Field(3, ge=0, le=9, description="how deep")


FIELDS = st.dictionaries(
    st.sampled_from(["size", "depth", "colour"]),
    st.one_of(st.integers(-5, 200), st.sampled_from(["50", "many", None, True, 3.5, [1]])),
)
OFFERS = st.lists(st.tuples(st.integers(1, 20), FIELDS, st.booleans()), max_size=20)


def is_valid(document: Limits) -> bool:
    try:
        Limits.model_validate(dict(document), strict=True)
    except ValueError:
        return False
    return True


@settings(max_examples=100, deadline=None)
@given(OFFERS)
def test_with_validation_on_a_process_never_runs_with_an_invalid_document(offers):
    """Whatever it was shown, with validation on or off, before."""
    acceptance = Acceptance(Schema(Limits))
    for revision, fields, validation in offers:
        acceptance.offer(revision, fields, validation)
        assert not validation or is_valid(acceptance.in_force.document)
    acceptance.validate()
    assert is_valid(acceptance.in_force.document)


@settings(max_examples=100, deadline=None)
@given(OFFERS, st.booleans())
def test_what_a_process_runs_with_only_gets_newer(offers, validation):
    """As long as nobody switches validation on: that may bring an older document back, the last good one."""
    acceptance = Acceptance(Schema(Limits))
    for revision, fields, _ in offers:
        before = acceptance.in_force.revision
        outcome = acceptance.offer(revision, fields, validation)
        assert acceptance.in_force.revision >= before
        assert (outcome == TAKEN) == (acceptance.in_force.revision > before)


@settings(max_examples=100, deadline=None)
@given(st.lists(FIELDS, max_size=10))
def test_what_is_in_force_is_the_newest_document_that_was_good(documents):
    acceptance = Acceptance(Schema(Limits))
    for revision, fields in enumerate(documents, 1):
        acceptance.offer(revision, fields, validation=True)
    good = [n for n, fields in enumerate(documents, 1) if set(fields) <= {"size", "depth"} and _allowed(fields)]
    assert acceptance.in_force.revision == max(good, default=0)


def _allowed(fields) -> bool:
    return all(type(value) is int for value in fields.values()) and is_valid(Limits.model_construct(**fields))


def test_a_bad_document_is_refused_once_however_often_it_is_seen():
    acceptance = Acceptance(Schema(Limits))
    outcomes = [acceptance.offer(5, {"size": 0}, validation=True) for _ in range(3)]
    assert outcomes == [REFUSED, None, None]


def test_a_refused_document_is_taken_over_when_validation_is_switched_off_and_left_when_it_comes_back():
    acceptance = Acceptance(Schema(Limits))
    acceptance.offer(1, {"size": 10}, validation=True)
    acceptance.offer(2, {"size": "many"}, validation=True)
    assert acceptance.offer(2, {"size": "many"}, validation=False) == TAKEN
    assert acceptance.in_force.document.size == "many"
    assert acceptance.in_force.document.depth == 3
    assert acceptance.validate() == REFUSED
    assert (acceptance.in_force.revision, acceptance.in_force.document.size) == (1, 10)


SLIPS = st.one_of(st.tuples(st.sampled_from(["size", "depth"]), st.sampled_from(["many", -1])), st.none())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), FIELDS, st.booleans(), SLIPS), max_size=20))
def test_what_a_fault_slipped_in_leaves_no_trace_once_it_is_withdrawn(steps):
    """And with validation on it is never in force, not even beside a good document."""
    spoiled, spared = Acceptance(Schema(Limits)), Acceptance(Schema(Limits))
    slipped = {}
    for owner, (revision, fields, validation, slip) in enumerate(steps):
        for acceptance in (spoiled, spared):
            acceptance.offer(revision, fields, validation)
        if slip is None:
            for owner in slipped:
                spoiled.withdraw(owner)
            slipped = {}
            assert spoiled.in_force == spared.in_force
        else:
            slipped[owner] = slip
            spoiled.slip_in(slipped, validation)
            assert not validation or spoiled.in_force == spared.in_force
            assert validation or getattr(spoiled.in_force.document, slip[0]) == slip[1]
            assert spoiled.slip_in(slipped, validation) is None, "once however often it is seen"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size": 101}, "size: .*less than or equal to 100; allowed: 1 to 100 \\(whole\\)"),
        ({"size": "50"}, "size: .*valid integer; allowed: 1 to 100 \\(whole\\)"),
        ({"colour": 1}, "colour: no such field; there are size, depth"),
    ],
)
def test_a_refusal_names_the_field_and_what_is_allowed(fields, said):
    with pytest.raises(BadValue, match=said):
        Schema(Limits).parse(fields)


# One process and a real Redis


class Switchboard:
    """Flags as the services have them, in one process, and the document beside them."""

    def __init__(self, redis: Redis) -> None:
        registry = Registry.load()
        self._store = FlagStore(redis, registry)
        self._flags = Flags(registry, redis)
        self.redis = redis
        self.running: list[Configuration] = []

    def set_flags(self, **changes: object) -> None:
        """Set flags, named by their last part, and let them take effect."""
        self._store.set({f"service.{name}": value for name, value in changes.items()})
        self._flags.refresh()

    def process(self, redis: Redis | None = None) -> Configuration:
        """A process that starts now; its first look of poll comes as late as it can."""
        made = Configuration("limits", Limits, redis or self.redis, self._flags, uniform=lambda low, high: high)
        self.running.append(made)
        made.start()
        return made


@pytest.fixture
def board(redis: Redis):
    switchboard = Switchboard(redis)
    yield switchboard
    for configuration in switchboard.running:
        configuration.stop()


def test_push_reaches_a_process_at_once(board):
    process = board.process()
    revision = process.set({"size": 7})
    eventually(lambda: process.document.size == 7)
    assert process.revision == revision


def test_a_push_that_was_lost_is_made_up_for(board, monkeypatch):
    """As when redis-py has connected again without a word: the document has changed, and no message says so."""
    monkeypatch.setattr("costlab.service.configuration.REREAD_SECONDS", 0.01)
    process = board.process()
    revision = process.set({"size": 7})
    eventually(lambda: process.document.size == 7)
    with board.redis.pipeline(transaction=True) as unheard:
        unheard.hset("costlab:config:limits", "size", "8")
        unheard.set("costlab:config:limits:revision", revision + 1)
        unheard.execute()
    eventually(lambda: process.document.size == 8)


@pytest.mark.parametrize(("ends", "left"), [("first", -1), ("second", "many")])
def test_of_two_faults_on_one_setting_each_ends_alone(board, ends, left):
    """While both last, the later counts."""
    board.set_flags(config_validation="off")
    process = board.process()
    process.slip_in("first", "size", "many")
    process.slip_in("second", "size", -1)
    assert process.document.size == -1
    process.withdraw(ends)
    assert process.document.size == left
    process.withdraw({"first": "second", "second": "first"}[ends])
    assert process.document == Limits()


def test_a_process_that_has_stopped_listening_takes_over_nothing_that_comes_while_it_still_waits(board):
    """Switched from push to restart, it may be waiting for a message yet."""
    process = board.process()
    for size in range(1, 4):
        board.set_flags(config="restart")
        process.set({"size": size})
        assert board.process().document.size == size
        assert process.document.size != size
        board.set_flags(config="push")
        eventually(lambda size=size: process.document.size == size)


def test_poll_reaches_a_process_at_its_next_look_and_not_before(board):
    board.set_flags(config="poll", config_poll=3600)
    process = board.process()
    process.set({"size": 7})
    assert board.process().document.size == 7
    assert process.document.size == 100
    board.set_flags(config_poll=0.1)
    eventually(lambda: process.document.size == 7)
    process.set({"size": 8})
    eventually(lambda: process.document.size == 8)


def test_restart_reaches_only_a_process_that_starts(board):
    board.set_flags(config="restart")
    old = board.process()
    old.set({"size": 7})
    assert board.process().document.size == 7
    assert old.document.size == 100
    board.set_flags(config="push")
    eventually(lambda: old.document.size == 7)


def test_a_bad_document_that_is_in_redis_already_is_refused_by_the_process_that_reads_it(board):
    board.set_flags(config_validation="off")
    process = board.process()
    process.set({"size": 7})
    eventually(lambda: process.document.size == 7)
    process.set({"size": "many"})
    eventually(lambda: process.document.size == "many")
    board.set_flags(config_validation="on")
    assert process.document.size == 7
    assert board.process().document.size == 100


def test_a_document_that_is_bad_as_a_whole_is_not_made_worse(board):
    """A change of one field is judged together with what is stored; putting the bad field back mends it."""
    board.set_flags(config_validation="off")
    process = board.process()
    process.set({"size": "many"})
    board.set_flags(config_validation="on")
    with pytest.raises(BadValue, match="size"):
        process.set({"depth": 2})
    process.set({"size": None, "depth": 2})
    eventually(lambda: process.document == Limits(depth=2))


def test_the_last_document_stays_in_force_when_redis_is_away_or_has_lost_it(board):
    process = board.process()
    process.set({"size": 7})
    eventually(lambda: process.document.size == 7)
    board.redis.flushdb()
    process.refresh()
    assert process.document.size == 7


def test_a_process_that_starts_while_redis_is_away_reads_its_document_when_it_is_back(board):
    """In mode restart too, where nothing would make it look again."""
    board.set_flags(config="restart")
    board.process().set({"size": 7})
    away = threading.Event()
    away.set()
    late = board.process(_Absent(board.redis, away))
    assert late.document == Limits()
    away.clear()
    eventually(lambda: late.document.size == 7)


class _Absent:
    """A Redis that cannot be reached while ``away``."""

    def __init__(self, redis: Redis, away: threading.Event) -> None:
        self._redis = redis
        self._nobody = redis_client.connect("redis://127.0.0.1:1")
        self._away = away

    def __getattr__(self, name: str) -> object:
        return getattr(self._nobody if self._away.is_set() else self._redis, name)

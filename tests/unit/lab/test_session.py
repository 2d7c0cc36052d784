"""A run from beginning to end, without a stack: what is said, kept and refused."""

import shutil
import threading
from types import SimpleNamespace

import pytest

from costlab.lab import catalogue, price_sheet, result, session
from costlab.lab.errors import Interrupted, LabError
from costlab.service.flags import Registry
from tests.unit.lab import killed_run, synthetic
from tests.unit.lab.test_runner import Listener, Load

DAY = catalogue.find("11")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A place without a stack, whose load takes no time."""
    stack = killed_run.stand_in(monkeypatch.setattr)
    return session.Place(stack, Listener(), threading.Event(), tmp_path / "runs", Load())


@pytest.fixture
def slip(tmp_path, monkeypatch):
    """A slip in a price sheet that is not the one bills are usually made with."""
    prices = tmp_path / "prices"
    shutil.copytree(price_sheet.PRICES, prices)
    (prices / "gcp.toml").write_text((prices / "gcp.toml").read_text().replace("price = ", "prize = ", 1))
    monkeypatch.setattr(price_sheet.check, "__defaults__", (prices,))


def test_a_slip_in_a_price_sheet_is_told_before_the_first_block(place, slip):
    with pytest.raises(LabError, match=r"gcp\.toml:\d+: unknown key rows\.[a-z_]+\.prize"):
        session.run_day(DAY, session.Wish(quick=True), place)
    assert place.load.specs == []
    assert not place.runs.exists()


def interrupted(place, in_block, **wish):
    """A full run that ends with Ctrl-C in that block, and the files it leaves: of the day and of its noise floor."""
    place.load.act = lambda call: place.stop.set() if call == in_block else None
    with pytest.raises(Interrupted):
        session.run_day(DAY, session.Wish(**wish), place)
    place.stop.clear()
    return [sorted(folder.glob("*.json")) for folder in (place.runs / DAY.slug, place.runs / "noise" / DAY.slug)]


def test_a_run_that_ends_while_its_noise_floor_is_measured_goes_on_as_it_was_wished(place):
    [path], [floor] = interrupted(place, in_block=5, rounds=2, seed=7)
    assert (result.load(path).status, len(result.load(floor).blocks)) == ("interrupted", 4)
    there = result.load(floor).blocks
    _, finished = session.resume(DAY, path, place)
    assert (finished.status, finished.seed, len(finished.blocks)) == ("complete", 7, 4)
    measured = result.load(floor)
    assert (measured.status, measured.blocks[:4], len(measured.blocks)) == ("complete", there, 12)
    assert finished.noise.measured == measured.started
    assert ("said", f"going on with the run of {finished.started}: 0 of 4 blocks are there already") in (
        place.listener.events
    )


def test_a_noise_floor_that_is_there_is_not_measured_again(place):
    [path], [floor] = interrupted(place, in_block=13, rounds=2, seed=7)
    measured = result.load(floor)
    assert measured.status == "complete"
    _, finished = session.resume(DAY, path, place)
    assert (len(finished.blocks), finished.noise.measured) == (4, measured.started)
    assert result.load(floor) == measured


def test_a_run_that_goes_on_on_a_later_date_keeps_its_floor_and_says_so(place, monkeypatch):
    [path], _ = interrupted(place, in_block=14, rounds=2, seed=7)
    monkeypatch.setattr(result, "now", lambda: "2999-01-01T00:00:00Z")
    _, finished = session.resume(DAY, path, place)
    assert finished.noise == result.load(path).noise is not None
    [caveat] = [caveat for caveat in finished.conclusion.caveats if "went on on 2999-01-01" in caveat]
    assert ("said", caveat) in place.listener.events


def test_a_run_that_ends_before_its_first_block_leaves_nothing(place):
    assert interrupted(place, in_block=1, rounds=2) == [[], []]
    assert interrupted(place, in_block=2, quick=True) == [[], []]


@pytest.fixture
def flags(place, monkeypatch):
    """The flags of the stack, at their defaults."""
    values = Registry.load().defaults()
    control = SimpleNamespace(
        flags=lambda: dict(values), rollouts=dict, metrics=lambda service: [], call=lambda *given, **where: {}
    )
    monkeypatch.setattr(session, "Control", lambda *_: control)
    monkeypatch.setattr(session, "set_flags", lambda stack, changes: values.update(changes))
    return values


def killed(place, flags, variant):
    """A run of day 11 that was killed in a block of ``variant``, and had found ``cache.ttl`` at 77."""
    before = flags | {"cache.ttl": 77.0}
    made = synthetic.result([], status="running").model_copy(update={"flags_before": before})
    result.save(made, result.path_for(DAY, made.started, place.runs))
    flags.update(before | made.experiment.variants[variant].flags)
    return before


def said(place, beginning):
    return [event[1] for event in place.listener.events if event[0] == "said" and event[1].startswith(beginning)]


def test_what_a_killed_run_left_set_is_put_back_before_the_next_one(place, flags):
    before = killed(place, flags, "ttl")
    _, finished = session.run_day(DAY, session.Wish(quick=True, rounds=1), place)
    assert finished.flags_before == before
    assert len(said(place, "put back, as a run that was killed had found them: ")) == 1


def test_what_a_person_has_set_since_a_run_was_killed_stays(place, flags):
    killed(place, flags, "ttl")
    flags["cache.ttl"] = 60.0
    _, finished = session.run_day(DAY, session.Wish(quick=True, rounds=1), place)
    assert finished.flags_before == flags
    assert said(place, "put back") == []


def test_flags_that_are_not_at_their_defaults_in_a_run_are_told_of(place, flags):
    flags["http.pool_size"] = 3
    session.run_day(DAY, session.Wish(quick=True, rounds=1), place)
    assert said(place, "not at their defaults") == ["not at their defaults, here and in variants: http.pool_size=3"]


def test_flags_that_every_variant_sets_are_not_told_of_and_nothing_is_said_of_none(place, flags):
    flags["http.pool_size"] = 3
    session.run_day(DAY, session.Wish(quick=True, rounds=1, flags={"http.pool_size": 5}), place)
    assert said(place, "not at their defaults") == []


def test_a_run_is_not_gone_on_with_among_other_flags_until_they_are_put_back(place, flags):
    [path], _ = interrupted(place, in_block=2, quick=True, rounds=1)
    kept, blocks = result.load(path), len(place.load.specs)
    flags["http.pool_size"] = 3
    with pytest.raises(LabError, match=r"http\.pool_size was \d+ and is 3"):
        session.resume(DAY, path, place)
    assert (result.load(path), len(place.load.specs)) == (kept, blocks)
    flags["http.pool_size"] = kept.flags_before["http.pool_size"]
    assert session.resume(DAY, path, place)[1].status == "complete"


@pytest.fixture
def rolled_out(monkeypatch):
    """rolled_out(): from now on a rollout is in force."""

    def begin():
        control = session.Control()
        rollouts = {"users.version": {"value": "v2_slow", "percent": 50, "seconds_left": 3600.0}}
        monkeypatch.setattr(control, "rollouts", lambda: rollouts)

    return begin


REFUSED = "a rollout is in force: users.version=v2_slow for 50 % of the users; end it .costlab rollout abort"


@pytest.mark.parametrize("begin", [session.run_day, session.run_noise])
def test_no_run_begins_while_some_users_get_another_version(place, rolled_out, begin):
    rolled_out()
    with pytest.raises(LabError, match=REFUSED):
        begin(DAY, session.Wish(), place)
    assert place.load.specs == []
    assert list(place.runs.rglob("*.json")) == []


def test_no_run_goes_on_while_some_users_get_another_version(place, rolled_out):
    [path], _ = interrupted(place, in_block=2, quick=True, rounds=1)
    there = result.load(path).blocks
    rolled_out()
    with pytest.raises(LabError, match=REFUSED):
        session.resume(DAY, path, place)
    assert (len(place.load.specs), result.load(path).blocks) == (2, there)

"""Damaged files: whatever was lost or changed, there is one clear error or a whole answer, never a traceback."""

import copy
import io
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from costlab.failure import Failure
from costlab.lab import bill, comparison, experiment, lesson, noise, price_sheet, report, result, table, tracker
from costlab.lab.block import FaultSeen, Orders
from costlab.lab.catalogue import find
from costlab.lab.conclusion import conclude
from costlab.lab.errors import LabError
from costlab.lab.load.traffic import load_traffic
from costlab.lab.state import Stage
from costlab.service.flags import Registry
from tests.unit.lab import synthetic

DAY = find("11").file.read_text()
SHEET = (price_sheet.PRICES / "aws-fargate.toml").read_text()
ASSUMED = (price_sheet.PRICES / "assumptions.toml").read_text()
often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

WRONG = [None, True, -1, 0, 1.5, 1e308, -1e308, 10**30, float("nan"), float("inf"), "", "x", "nan", "\x00\n", [], {}]
WRONG_TOML = [
    "-1",
    "0",
    "1e308",
    "99999999999999999999",
    "nan",
    "-inf",
    '""',
    '"x"',
    '"a\\nb"',
    "[]",
    "{}",
    "true",
    "=",
    "[",
]


def tells_or_answers(action) -> None:
    """It works, or it fails with one line that a person can read."""
    said = ""
    try:
        action()
    except Failure as failure:
        said = str(failure)
    assert "\n" not in said
    assert not said or 10 < len(said) < 1200


def _damaged_toml(text: str):
    """``text`` with a line lost, a value replaced, or cut off."""
    lines = text.splitlines()
    places = [i for i, line in enumerate(lines) if line and not line.startswith("#")]
    valued = [i for i in places if " = " in lines[i]]

    def without(i: int) -> str:
        return "\n".join(lines[:i] + lines[i + 1 :])

    def replaced(i: int, value: str) -> str:
        return "\n".join([*lines[:i], f"{lines[i].split(' = ')[0]} = {value}", *lines[i + 1 :]])

    return st.one_of(
        st.sampled_from(places).map(without),
        st.builds(replaced, st.sampled_from(valued), st.sampled_from(WRONG_TOML)),
        st.integers(0, len(text)).map(lambda end: text[:end]),
    )


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 20_000,
        "a = " + "{a = " * 3_000,
        "a = " + "9" * 6_000,
        f'title = "{"x" * 100_000}"',
        ".".join("a" * 3000),
    ],
    ids=[
        "arrays in arrays",
        "tables in tables",
        "a number of 6,000 digits",
        "a title of 100,000 letters",
        "one long key",
    ],
)
def test_an_experiment_that_no_person_wrote(tmp_path, text):
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    tells_or_answers(lambda: experiment.load(path))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"format": ' + b"9" * 6_000 + b"}",
        b'{"format": NaN}',
        b"null",
        b"\xff\xfe",
        b"",
    ],
    ids=["lists in lists", "objects in objects", "a number of 6,000 digits", "NaN", "null", "no UTF-8", "nothing"],
)
def test_a_result_and_a_traffic_file_that_nobody_wrote(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    for read in (result.load, lambda path: load_traffic(path, 1, run="x")):
        with pytest.raises(Failure) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000


@often
@given(text=_damaged_toml(DAY))
def test_a_damaged_experiment(tmp_path, text):
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    tells_or_answers(lambda: experiment.load(path))


@pytest.fixture(scope="module")
def priced_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prices")
    shutil.copytree(price_sheet.PRICES, folder, dirs_exist_ok=True)
    return folder


def _price(folder: Path) -> None:
    given = price_sheet.load_assumptions(folder)
    made = bill.bill(synthetic.day_11(), synthetic.rounds(2), "aws-fargate", given, 1, folder)
    table.bill_words(made)
    _shown(table.bill_table(made, ["off", "ttl"]))


def _shown(what: object) -> None:
    Console(file=io.StringIO(), width=100).print(what)


@often
@given(sheet=_damaged_toml(SHEET))
def test_a_damaged_price_sheet(priced_folder, sheet):
    (priced_folder / "assumptions.toml").write_text(ASSUMED)
    (priced_folder / "aws-fargate.toml").write_text(sheet)
    tells_or_answers(lambda: _price(priced_folder))


@often
@given(assumed=_damaged_toml(ASSUMED))
def test_damaged_assumptions(priced_folder, assumed):
    (priced_folder / "aws-fargate.toml").write_text(SHEET)
    (priced_folder / "assumptions.toml").write_text(assumed)
    tells_or_answers(lambda: _price(priced_folder))


def _stored() -> dict:
    more = {
        "faults": [FaultSeen(fault="latency", on="orders", at=1.0, until=2.0)],
        "orders": Orders(placed=10, lost=0, accepted=10),
        "time_wait": 3,
    }
    blocks = synthetic.rounds(3, off=more, ttl={"queries": 700, "cpu_ms": 4.0, **more})
    made = synthetic.result(blocks, conclude(synthetic.day_11(), blocks, 7, quick=True))
    floor = result.Noise(measured="2026-01-02T00:00:00Z", rounds=4, block_seconds=7, floors={"p50_ms": 0.02})
    return json.loads(made.model_copy(update={"noise": floor}).model_dump_json())


STORED = _stored()


def _shapes(document: object, path: tuple = (), shape: tuple = ()) -> Iterator[tuple[tuple, tuple]]:
    """Every place of ``document`` with its shape, in which all items of a list and all numbered keys are alike."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, child in items:
        alike = "*" if isinstance(key, int) or key.isdecimal() else key
        yield (*shape, alike), (*path, key)
        yield from _shapes(child, (*path, key), (*shape, alike))


PLACES = list(dict(_shapes(STORED)).values())


def damaged_result(seed: int) -> str:
    """The stored result with one or two places broken, or cut off."""
    chance, document = random.Random(seed), copy.deepcopy(STORED)
    if chance.random() < 0.1:
        text = json.dumps(document)
        return text[: chance.randrange(len(text))]
    for _ in range(chance.randint(1, 2)):
        _break(chance, document, chance.choice(PLACES))
    return json.dumps(document)


def _break(chance: random.Random, document: dict | list, path: tuple) -> None:
    """Lose what is at ``path``, replace it or give it another name; nothing, if an earlier break took it away."""
    *above, key = path
    try:
        for part in above:
            document = document[part]
        document[key]
    except (KeyError, IndexError, TypeError):
        return
    how = chance.choice(["lose", "rename", "replace", "replace"])
    if how == "lose":
        del document[key]
    elif how == "rename" and isinstance(document, dict):
        document[chance.choice(["x", "-5", "99999999", "off", "ttl"])] = document.pop(key)
    else:
        document[key] = copy.deepcopy(chance.choice(WRONG))


def _everything(path: Path) -> None:
    """What the commands do with a result: report, table, price, lesson, noise floor, comparison."""
    stored = result.load(path)
    report.render(stored)
    table.show(stored, Console(file=io.StringIO(), width=100))
    priced = bill.bill(stored.experiment, stored.blocks, "gcp", price_sheet.load_assumptions(), stored.seed)
    if priced is not None:
        _shown(table.bill_table(priced, stored.experiment.names()))
    lesson.outcome(tracker.Line(stored.day, "topic", "status", "-", "-", "-", "-", path), path.parent)
    if stored.conclusion is not None:
        noise.of(stored)
    comparison.compare(stored, stored)


def test_a_run_is_not_gone_on_with_where_nobody_knows_what_to_put_back():
    with pytest.raises(LabError, match=r"not known how cache.strategy, .* stood before the run \(flags_before"):
        Stage(None, None, synthetic.day_11(), None, before={"cache.ttl": 30.0})
    damaged = Registry.load().defaults() | {"cache.ttl": "forever"}
    with pytest.raises(LabError, match=r"flags_before of the result: cache.ttl cannot be 'forever'; allowed"):
        Stage(None, None, synthetic.day_11(), None, before=damaged)


@settings(parent=often, max_examples=100)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_result(tmp_path, seed):
    path = tmp_path / "result.json"
    path.write_text(damaged_result(seed))
    tells_or_answers(lambda: _everything(path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda block: block["latencies"].update(histogram=dict.fromkeys(block["latencies"]["histogram"], 0)),
            "blocks.0.latencies counts 0",
        ),
        (lambda block: block["guards"][0].update(kept=False, value=None), "blocks.0.guards.0.kept is false"),
    ],
    ids=["nothing counted", "a guard broken by no value"],
)
def test_a_damage_that_every_block_has(tmp_path, change, said):
    document = copy.deepcopy(STORED)
    for block in document["blocks"]:
        change(block)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(document))
    with pytest.raises(LabError, match=said):
        result.load(path)

"""Result files: written whole, read back the same, and clear about what is wrong with a damaged one."""

import json
import random
from contextlib import suppress

import pytest

from costlab.lab import result
from costlab.lab.conclusion import conclude
from costlab.lab.errors import LabError
from tests.unit.lab import synthetic


@pytest.fixture
def stored(tmp_path):
    blocks = synthetic.rounds(3, ttl={"queries": 700, "cpu_ms": 4.0})
    made = synthetic.result(blocks, conclude(synthetic.day_11(), blocks, 7, quick=True))
    path = tmp_path / "runs" / "result.json"
    result.save(made, path)
    return made, path


def test_a_result_reads_back_as_it_was(stored):
    made, path = stored
    assert result.load(path) == made


def test_what_is_saved_again_is_the_same_bytes(stored):
    _, path = stored
    before = path.read_bytes()
    result.save(result.load(path), path)
    assert path.read_bytes() == before


def test_writing_leaves_nothing_beside_the_file(stored):
    _, path = stored
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_a_file_that_cannot_be_written_is_one_clear_error(stored, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="cannot be written"):
        result.save(stored[0], tmp_path / "file" / "result.json")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text[: len(text) // 2], "not a whole result"),
        (lambda text: "", "not a whole result"),
        (lambda text: "[]", "not a result of this costlab"),
        (lambda text: text.replace('"format":2', '"format":3'), "format is 3; allowed: 1 or 2"),
        (lambda text: text.replace('"seed":7', '"seed":"seven"'), "seed is 'seven'"),
        (lambda text: text.replace('"day"', '"dya"'), "day is missing|unknown key dya"),
        (lambda text: text.replace('"status":"complete"', '"status":"done"'), "status is 'done'; allowed: 'running'"),
    ],
)
def test_a_damaged_result_is_one_clear_error(stored, change, expected):
    _, path = stored
    path.write_text(change(path.read_text()))
    with pytest.raises(LabError, match=expected) as caught:
        result.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_whatever_field_is_lost_or_changed_the_error_is_one_line(stored):
    _, path = stored
    original = json.loads(path.read_text())
    chance = random.Random(1)
    for _ in range(60):
        document = json.loads(json.dumps(original))
        _damage(document, chance)
        path.write_text(json.dumps(document))
        with suppress(LabError):
            result.load(path)
            continue
        with pytest.raises(LabError) as caught:
            result.load(path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000


def _damage(document, chance):
    """Walk down to some place and break it."""
    while True:
        key = chance.choice(list(document) if isinstance(document, dict) else range(len(document)))
        child = document[key]
        if not child or not isinstance(child, dict | list) or chance.random() < 0.2:
            document[key] = chance.choice([None, "x", -1, [], {}, 1.5])
            return
        document = child


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_clear_errors(tmp_path):
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name in ("binary.json", "missing.json", "."):
        with pytest.raises(LabError, match="no result can be read there"):
            result.load(tmp_path / name)


def test_conclusions_follow_from_blocks_and_seed_alone(stored):
    made, _ = stored
    assert conclude(made.experiment, made.blocks, made.seed, made.quick) == made.conclusion


def test_what_clearly_got_worse_is_said_as_loudly_as_what_got_better(stored):
    conclusion = stored[0].conclusion
    assert any(line.startswith("database queries/request -30.0 %") for line in conclusion.brings)
    assert any(line.startswith("CPU/request, services +33.3 %") for line in conclusion.costs)
    assert any("USD a month more" in line for line in conclusion.costs)
    assert any(line.startswith("quick form: 3 rounds") for line in conclusion.caveats)


def test_broken_guards_are_repeated_beside_the_verdict():
    busy = synthetic.QUIET.model_copy(update={"busy": 0.99, "steal": None})
    blocks = synthetic.rounds(2, ttl={"machine": busy})
    caveats = conclude(synthetic.day_11(), blocks, 1, quick=False).caveats
    assert "guard broken: machine time in use: over 70 % in 2 of 4 blocks, at worst 99.0 %" in caveats
    assert "this machine does not tell: machine time stolen by the host" in caveats


def test_rounds_that_depend_on_each_other_are_told_of():
    primary = synthetic.day_11().primary.model_copy(update={"metric": "p50_ms"})
    timed = synthetic.day_11().model_copy(update={"primary": primary})
    wave = [1 + 0.1 * i for i in (0, 1, 2, 3, 4, 4, 3, 2, 1, 0)]
    said = conclude(timed, synthetic.from_ratios(wave), 1, quick=False).caveats
    assert "rounds resemble their neighbours, so the interval was made 1.9 times as wide" in said


def test_a_run_without_a_noise_floor_says_so_and_one_with_it_does_not():
    blocks = synthetic.rounds(2)
    said = "no A/A run: this machine's own noise floor is not part of the threshold"
    assert said in conclude(synthetic.day_11(), blocks, 1, quick=False).caveats
    assert said not in conclude(synthetic.day_11(), blocks, 1, quick=False, floors={"p50_ms": 0.02}).caveats

"""A run that was killed is gone on with as the run it was, or not at all."""

import subprocess
import sys

import pytest

from costlab.lab import result
from costlab.lab.errors import LabError
from costlab.lab.plan import plan
from costlab.lab.resuming import check, missing
from tests.unit.lab import killed_run, synthetic


def stored(**more):
    return synthetic.result(synthetic.rounds(2), status="interrupted").model_copy(update=more)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_at_random_moments_ends_with_the_blocks_of_its_plan(tmp_path, seed):
    command = [sys.executable, "-m", "tests.unit.lab.killed_run", str(tmp_path), str(seed)]
    kills = int(subprocess.run(command, stdout=subprocess.PIPE, timeout=100, check=True).stdout)
    [path] = (tmp_path / "11-caching").glob("*.json")
    assert list(path.parent.glob(f".{path.name}-*")) == []
    finished = result.load(path)
    planned = plan(finished.experiment.names(), killed_run.ROUNDS, 5)
    assert [(b.round, b.variant, b.seed) for b in finished.blocks] == [(p.round, p.variant, p.seed) for p in planned]
    assert finished.status == "complete"
    assert 0 < len(finished.resumed) <= kills


@pytest.mark.parametrize("there", range(5))
def test_only_what_is_missing_is_run_again(there):
    planned = plan(["off", "ttl"], 2, seed=1)
    blocks = [synthetic.block(p.round, p.variant) for p in planned[:there]]
    assert missing(planned, blocks) == planned[there:]


def test_a_block_that_was_still_warming_up_is_missing():
    planned = plan(["off", "ttl"], 1, seed=1)
    warming = synthetic.block(1, planned[0].variant).model_copy(update={"repeated": True})
    assert missing(planned, [warming]) == planned


def test_the_same_run_goes_on():
    check(stored(), synthetic.day_11(), synthetic.environment())


def test_words_may_have_changed():
    check(stored(), synthetic.day_11().model_copy(update={"question": "Why?"}), synthetic.environment())


def test_flags_given_from_outside_belong_to_the_run():
    given = {"http.pool_size": 3}
    check(
        stored(experiment=synthetic.day_11().with_flags(given), given_flags=given),
        synthetic.day_11(),
        synthetic.environment(),
    )


def test_a_complete_run_has_nothing_to_resume():
    with pytest.raises(LabError, match="is complete: there is nothing to resume"):
        check(stored(status="complete"), synthetic.day_11(), synthetic.environment())


def test_another_declaration_is_refused_with_what_changed():
    load = synthetic.day_11().load.model_copy(update={"rate": 90.0})
    with pytest.raises(LabError, match=r"experiment.toml .* cannot go on: load.rate was 80.0 and is 90.0$"):
        check(stored(), synthetic.day_11().model_copy(update={"load": load}), synthetic.environment())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code": "other", "commit": "decade", "dirty": True}, "code .*c0ffee, now decade with changes"),
        ({"cores": 4}, "not the machine of the run.*: cores was 2 and is 4"),
        ({"versions": {"costlab": "0.2.0"}}, "versions.costlab was '0.1.0' and is '0.2.0'"),
        ({"target": "compose", "host": "other"}, r"host was 'machine' and is 'other' \(and 1 more\)"),
    ],
)
def test_other_code_or_another_machine_is_refused_with_the_reason(change, reason):
    with pytest.raises(LabError, match=reason):
        check(stored(), synthetic.day_11(), synthetic.environment().model_copy(update=change))


def test_the_same_code_from_another_commit_is_the_same_run():
    check(stored(), synthetic.day_11(), synthetic.environment().model_copy(update={"commit": "decade"}))

"""A run that was killed is gone on with as the run it was, or not at all."""

import subprocess
import sys

import pytest

from costlab.lab import result
from costlab.lab.errors import LabError
from costlab.lab.plan import plan
from costlab.lab.resuming import check, missing
from tests.unit.lab import killed_run, synthetic
from tests.unit.lab.killed_run import here

HERE = here("costlab open-model")
FLAGS = {"cache.strategy": "off", "http.pool_size": 8, "tracing.sample": 0.01}


def stored(**more):
    made = synthetic.result(synthetic.rounds(2), status="interrupted")
    return made.model_copy(update={"flags_before": FLAGS} | more)


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
    check(stored(), synthetic.day_11(), HERE, FLAGS)


def test_words_may_have_changed():
    check(stored(), synthetic.day_11().model_copy(update={"question": "Why?"}), HERE, FLAGS)


def test_flags_given_from_outside_belong_to_the_run():
    given = {"http.pool_size": 3}
    check(stored(experiment=synthetic.day_11().with_flags(given), given_flags=given), synthetic.day_11(), HERE, FLAGS)


def test_a_complete_run_has_nothing_to_resume():
    with pytest.raises(LabError, match="is complete: there is nothing to resume"):
        check(stored(status="complete"), synthetic.day_11(), HERE, FLAGS)


def test_another_declaration_is_refused_with_what_changed():
    load = synthetic.day_11().load.model_copy(update={"rate": 90.0})
    with pytest.raises(LabError, match=r"experiment.toml .* cannot go on: load.rate was 80.0 and is 90.0$"):
        check(stored(), synthetic.day_11().model_copy(update={"load": load}), HERE, FLAGS)


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
        check(stored(), synthetic.day_11(), HERE.model_copy(update=change), FLAGS)


def test_the_same_code_from_another_commit_is_the_same_run():
    check(stored(), synthetic.day_11(), HERE.model_copy(update={"commit": "decade"}), FLAGS)


def test_flags_that_the_variants_set_may_stand_as_the_killed_run_left_them():
    check(stored(), synthetic.day_11(), HERE, FLAGS | {"cache.strategy": "ttl"})


def test_other_flags_around_the_run_are_refused_with_what_they_were_and_are():
    now = FLAGS | {"tracing.sample": 1.0, "http.pool_size": 3}
    both = "http.pool_size was 8 and is 3; tracing.sample was 0.01 and is 1.0"
    with pytest.raises(LabError, match=f"flags around the run .* cannot go on: {both} .costlab flags set"):
        check(stored(), synthetic.day_11(), HERE, now)


def test_flags_given_from_outside_are_set_again_whatever_stands_now():
    given = {"http.pool_size": 3}
    run = stored(experiment=synthetic.day_11().with_flags(given), given_flags=given)
    check(run, synthetic.day_11(), HERE, FLAGS | {"http.pool_size": 5})


def test_a_run_that_did_not_note_its_flags_goes_on():
    check(stored(flags_before={}), synthetic.day_11(), HERE, FLAGS)


def test_another_generator_or_version_than_that_of_the_blocks_is_refused():
    run = stored(blocks=[synthetic.block(1, "off", generator="k6 v1.7.1")], generator="auto")
    check(run, synthetic.day_11(), here("k6 v1.7.1"), FLAGS)
    for now in ("costlab open-model", "k6 v1.8.0"):
        with pytest.raises(LabError, match=f"came from k6 v1.7.1 and would now come from {now}: it cannot go on"):
            check(run, synthetic.day_11(), here(now), FLAGS)


def test_a_run_without_a_block_takes_the_generator_it_began_with_and_so_its_noise_floor():
    run = stored(blocks=[], environment=here("k6 v1.7.1"))
    check(run, synthetic.day_11(), here("k6 v1.7.1"), FLAGS)
    with pytest.raises(LabError, match=r"came from k6 v1\.7\.1 and would now come from costlab open-model"):
        check(run, synthetic.day_11(), HERE, FLAGS)

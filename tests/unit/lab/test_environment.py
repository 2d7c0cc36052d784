"""What a run was measured with: its code as one figure, its load generator as blocks name it."""

import pytest

from costlab.lab import environment


@pytest.fixture
def root(tmp_path):
    """A repository in miniature."""
    for name in ("costlab/lab/plan.py", "infra/gunicorn.conf.py", "infra/prices/gcp.toml", "docs/map.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "same"),
    [
        ("costlab/lab/plan.py", False),
        ("infra/gunicorn.conf.py", False),
        ("infra/prices/gcp.toml", True),
        ("docs/map.md", True),
    ],
)
def test_code_is_what_takes_part_in_a_run_and_not_what_things_cost(root, file, same):
    before = environment.code(root)
    (root / file).write_text("new")
    assert (environment.code(root) == before) is same


TRAFFIC = environment.ROOT / "loadtests" / "traffic" / "browse.json"


@pytest.fixture
def k6(tmp_path, monkeypatch):
    """A k6 that says its version and nothing else."""
    program = tmp_path / "k6"
    program.write_text("#!/bin/sh\necho 'k6 v9.9.9 (commit/decade, go1.25, linux/amd64)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("K6", str(program))


@pytest.fixture
def nothing_installed(tmp_path, monkeypatch):
    monkeypatch.delenv("K6", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize("wanted", ["auto", "k6"])
def test_k6_is_named_with_its_version_where_it_is_found(k6, wanted):
    assert environment.generator(wanted, TRAFFIC) == "k6 v9.9.9"


def test_traffic_without_a_k6_scenario_comes_from_the_built_in_generator(k6, tmp_path):
    assert environment.generator("auto", tmp_path / "traffic" / "other.json") == "costlab open-model"


def test_the_built_in_generator_is_taken_where_it_is_asked_for(k6):
    assert environment.generator("open-model", TRAFFIC) == "costlab open-model"


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ("auto", "costlab open-model"),
        ("k6", "k6, which is missing"),
        ("k6-docker", "k6-docker, which is missing"),
    ],
)
def test_a_generator_that_is_missing_is_no_error_before_the_load_begins(nothing_installed, wanted, named):
    assert environment.generator(wanted, TRAFFIC) == named

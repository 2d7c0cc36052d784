"""What a run was measured with: its code as one figure."""

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

"""Who may import whom: the walls of docs/architecture.md."""

import pytest

from tests.structure.source import ROOT, imports, modules

KIT = ("costlab.service", "costlab.resilience", "costlab.failure")
FORBIDDEN_NAMES = {"utils", "util", "common", "core", "helpers", "misc"}


def _service(module: str) -> str | None:
    """``gateway`` or ``services.users`` for a module inside one, else None."""
    if module.split(".")[0] == "gateway":
        return "gateway"
    parts = module.split(".")
    return (
        ".".join(parts[:2])
        if parts[0] == "services" and len(parts) > 1 and (ROOT / "services" / parts[1]).is_dir()
        else None
    )


def _ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in ("costlab", "gateway", "services")}


@pytest.mark.parametrize("module", [name for name in modules() if _service(name)])
def test_a_service_imports_itself_and_the_kit_only(module):
    home = _service(module)
    strangers = {
        name for name in _ours(imports(modules()[module])) if not name.startswith((f"{home}.", *KIT)) and name != home
    }
    assert strangers - {"costlab", "services"} == set()


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith(KIT)])
def test_the_kit_knows_no_service_and_no_lab(module):
    assert {name for name in _ours(imports(modules()[module])) if not name.startswith(KIT)} - {"costlab"} == set()


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("costlab.lab")])
def test_the_lab_knows_services_only_from_outside(module):
    allowed = ("costlab.lab", "costlab.stack", "costlab.failure", "costlab.service.flags", "costlab.service.faults")
    assert {name for name in _ours(imports(modules()[module])) if not name.startswith(allowed)} - {"costlab"} == set()


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("costlab.stack")])
def test_whoever_starts_a_stack_knows_the_words_and_stores_of_the_kit_and_no_service(module):
    allowed = ("costlab.stack", "costlab.service", "costlab.failure")
    assert {name for name in _ours(imports(modules()[module])) if not name.startswith(allowed)} - {"costlab"} == set()


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("costlab.seeing")])
def test_whoever_looks_at_a_stack_knows_services_only_from_outside(module):
    allowed = ("costlab.seeing", "costlab.lab", "costlab.stack", "costlab.failure")
    words = ("costlab.service.flags", "costlab.service.faults")
    found = {name for name in _ours(imports(modules()[module])) if not name.startswith((*allowed, *words))}
    assert found - {"costlab"} == set()


def test_no_module_has_a_name_that_means_nothing():
    assert [name for name in modules() if set(name.split(".")) & FORBIDDEN_NAMES] == []


def test_every_module_says_what_it_is():
    import ast

    silent = [name for name, tree in modules().items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []

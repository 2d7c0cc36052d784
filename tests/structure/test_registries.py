"""Registries and reality agree: flags, metrics, settings, the compose file, the map, the Makefile."""

import ast
import re
import tomllib
from functools import cache

import pytest
import yaml
from pydantic_settings import BaseSettings

from costlab.service import metrics
from costlab.service.flags import Registry
from costlab.service.settings import PREFIX
from tests.structure.source import ROOT, imports, modules, strings, text

FLAGS = [flag.name for flag in Registry.load()]
METRICS = {name: value for name, value in vars(metrics).items() if isinstance(value, metrics.MetricWrapperBase)}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MAP = (ROOT / "docs" / "map.md").read_text()


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_is_read_by_a_service_or_the_kit(flag):
    readers = [name for name, tree in modules().items() if flag in strings(tree) and not name.startswith("costlab.lab")]
    assert readers, f"nobody reads {flag}"


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_has_an_effect_test_on_the_running_stack(flag):
    assert any(flag in strings(tree) for tree in _effect_tests()), f"no test_effects*.py sets {flag}"


@cache
def _effect_tests() -> list[ast.Module]:
    return [ast.parse(path.read_text()) for path in (ROOT / "tests" / "e2e").glob("test_effects*.py")]


def test_a_docstring_that_names_a_flag_is_no_effect_test():
    program = 'def test():\n    "cache.ttl"\n    set_flag("cache.strategy")'
    assert strings(ast.parse(program)) == {"cache.strategy"}


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_has_a_row_in_the_map(flag):
    assert f"`{flag}`" in MAP


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_recorded_somewhere(name):
    users = [
        module
        for module, tree in modules().items()
        if module != "costlab.service.metrics" and f"metrics.{name}" in text(module)
    ]
    assert users, f"nothing records {name}"


# What bounds the values of each label. Paths, ids and clients are none.
LABELS = {
    "a route of a table, or unmatched": {"http_route"},
    "a method or a status HTTP knows, or _OTHER": {"http_request_method", "http_response_status_code"},
    "words written down in the code": {"check", "codec", "coding", "outcome", "side", "policy", "group"},
    "a flag, or one of its values": {"flag", "value", "layout", "paging", "queries", "pool", "probe"},
    "a service, or what it calls": {"service", "upstream", "peer", "edge", "stream"},
    "instances that are configured": {"replica"},
    "a fault, and what there is to break": {"fault", "target"},
    "days and variants that somebody with the token runs": {"experiment", "variant"},
}


def test_the_values_of_every_label_are_bounded():
    used = {label for metric in METRICS.values() for label in metric._labelnames}
    assert used == set().union(*LABELS.values())


def test_metrics_are_declared_in_one_module_only():
    declaring = {"Counter", "Gauge", "Histogram", "Summary"}
    elsewhere = [
        name
        for name, tree in modules().items()
        if name != "costlab.service.metrics" and imports(tree) & {f"prometheus_client.{kind}" for kind in declaring}
    ]
    assert elsewhere == []


def _settings() -> dict[str, str]:
    import services.cache_proxy.settings
    import services.orders.settings
    import services.prepare
    import services.users.settings
    import services.worker.settings  # noqa: F401 - importing registers the subclasses

    fields: dict[str, str] = {}
    pending = [BaseSettings]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if kind.__module__.split(".")[0] in ("costlab", "gateway", "services"):
            fields |= {f"{PREFIX}{name.upper()}": field.description or "" for name, field in kind.model_fields.items()}
    return fields


def test_every_setting_says_what_it_is_for():
    assert [name for name, description in _settings().items() if not description] == []


def test_every_setting_is_documented():
    documented = (ROOT / "docs" / "settings.md").read_text()
    assert [name for name in _settings() if f"`{name}`" not in documented] == []


def test_the_compose_file_sets_nothing_that_nobody_reads():
    known = set(_settings())
    given = {
        name
        for service in COMPOSE["services"].values()
        for name in service.get("environment") or {}
        if name.startswith(PREFIX)
    }
    assert given - known == set()


def test_every_published_port_is_on_loopback():
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports") or []]
    assert published
    assert [port for port in published if not str(port).startswith("127.0.0.1:")] == []


def test_every_link_of_the_map_and_the_readme_leads_to_a_file():
    for document in (
        ROOT / "docs" / "map.md",
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("experiments/*/*.md"),
    ):
        for link in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document.relative_to(ROOT)} links to {link}"


def test_every_mechanism_file_is_on_the_map():
    mechanisms = [
        *ROOT.glob("costlab/resilience/*.py"),
        *ROOT.glob("gateway/balancer/*.py"),
        *ROOT.glob("gateway/rate_limit/*.py"),
        *ROOT.glob("gateway/shed/*.py"),
        *ROOT.glob("services/cache_proxy/strategies/*.py"),
    ]
    missing = [path for path in mechanisms if path.name != "__init__.py" and str(path.relative_to(ROOT)) not in MAP]
    assert missing == []


def test_every_make_target_has_a_line_of_help():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    helped = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert targets == helped


def test_every_pinned_package_is_hashed_and_names_no_index():
    for name in ("service", "dev"):
        lines = (ROOT / "infra" / "requirements" / f"{name}.txt").read_text()
        packages = re.findall(r"^[a-zA-Z0-9_.-]+(?:\[[^\]]*\])?==.*$", lines, re.MULTILINE)
        assert packages
        assert all(package.endswith("\\") for package in packages)
        assert "://" not in lines


def test_the_project_needs_what_it_imports():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = " ".join([*wanted["dependencies"], *wanted["optional-dependencies"]["lab"]])
    for package in (
        "flask",
        "gunicorn",
        "psycopg2-binary",
        "redis",
        "pybreaker",
        "opentelemetry-sdk",
        "prometheus-client",
    ):
        assert package in names

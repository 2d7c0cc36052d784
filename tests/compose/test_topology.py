"""What docker-compose.yml promises, read from the file itself: no engine needed."""

import re

import pytest
import yaml

from costlab.stack.compose import ROOT

COMPOSE_FILE = (ROOT / "docker-compose.yml").read_text()
SERVICES = yaml.safe_load(COMPOSE_FILE)["services"]
OURS = [name for name, service in SERVICES.items() if str(service["image"]).startswith("${COSTLAB_IMAGE")]


@pytest.mark.parametrize("name", SERVICES)
def test_every_port_is_published_on_loopback_only_and_can_be_moved(name):
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:${COSTLAB_"), port


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_locked_down_and_bounded(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_can_be_replaced_and_is_pinned_to_a_version(name):
    variable, _, default = SERVICES[name]["image"].removeprefix("${").removesuffix("}").partition(":-")
    assert variable.endswith("_IMAGE")
    assert default == "costlab:dev" or re.search(r":v?\d+\.\d+[.\w-]*$", default), default


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in ("k6", "prepare")])
def test_every_lasting_service_has_a_health_check(name):
    assert SERVICES[name]["healthcheck"]["test"]


def test_the_image_is_built_from_the_base_that_the_dockerfile_names():
    default = SERVICES["prepare"]["build"]["args"]["PYTHON_IMAGE"].partition(":-")[2].removesuffix("}")
    assert f"ARG PYTHON_IMAGE={default}\n" in (ROOT / "infra" / "Dockerfile").read_text()


def test_the_image_is_built_by_one_service_that_all_others_need():
    """Parallel builds of one name end in "already exists" on engines with the containerd image store."""
    assert [name for name in OURS if "build" in SERVICES[name]] == ["prepare"]
    for name in OURS:
        assert name == "prepare" or "prepare" in _needs(name), name


def _needs(name: str) -> set[str]:
    """The services ``name`` waits for, and those they wait for."""
    direct = set(SERVICES[name].get("depends_on", ()))
    return direct.union(*map(_needs, direct))


def test_prometheus_asks_every_service_that_has_metrics():
    scrapes = yaml.safe_load((ROOT / "infra" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    asked = next(scrape for scrape in scrapes if scrape["job_name"] == "costlab")["dns_sd_configs"][0]
    assert asked["port"] == 9000
    assert sorted(asked["names"]) == sorted(name for name in OURS if name != "prepare")


def test_every_variable_is_documented_and_so_are_the_defaults_of_images_and_ports():
    documented = (ROOT / "docs" / "settings.md").read_text()
    for name, default in re.findall(r"\$\{(\w+):?-([^}]*)\}", COMPOSE_FILE):
        assert f"`{name}`" in documented, name
        assert default in documented or not name.endswith(("_IMAGE", "_PORT")), f"{name}: {default}"

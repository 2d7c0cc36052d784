"""The configuration files of Compose, as processes on loopback have to see them."""

from pathlib import Path

import pytest
import yaml

from costlab.stack import ROOT, StackError, ports, seeing
from costlab.stack.topology import Topology


@pytest.fixture
def written(tmp_path):
    """``written("jaeger", COSTLAB_PORT_BASE="18080")``: its service, and its configuration files by name."""

    def write(name, **given):
        given = {"COSTLAB_SEEING": "on", **given}
        topology = Topology.read(ports.COMPOSE_FILE, {**ports.moved(given), **given}).on_loopback(tmp_path)
        service = topology.services[name]

        def translated(document):
            return topology.document(name, document, tmp_path)

        seeing.write(name, service.volumes, tmp_path, translated, topology.addresses)
        files = (tmp_path / seeing.FOLDER).rglob("*.y*ml")
        return service, {file.name: yaml.safe_load(file.read_text()) for file in files}

    return write


def hosts(document):
    """Every address in it."""
    if isinstance(document, dict):
        return set().union(*map(hosts, document.values()))
    if isinstance(document, list):
        return set().union(*map(hosts, document))
    text = str(document)
    return {text} if ":" in text and text.rpartition(":")[2].isdigit() else set()


def test_jaeger_listens_on_loopback_only_and_its_ports_move_along(written):
    service, files = written("jaeger", COSTLAB_PORT_BASE="18080")
    assert hosts(files["jaeger.yaml"]) == {f"127.0.0.1:{port + 10_000}" for port in (4318, 13133, 16685, 16686)}
    assert service.command[1].endswith("/seeing/jaeger/etc/jaeger/jaeger.yaml")
    assert Path(service.command[1]).exists()


def test_but_for_addresses_jaegers_configuration_is_that_of_compose(written):
    def without(document):
        if isinstance(document, dict):
            return {key: without(value) for key, value in document.items() if key != "endpoint"}
        return document

    of_compose = yaml.safe_load((ROOT / "infra" / "jaeger" / "jaeger.yaml").read_text())
    assert without(written("jaeger")[1]["jaeger.yaml"]) == without(of_compose)


def test_prometheus_asks_every_instance_by_its_address_and_itself_by_its_own(written):
    service, files = written("prometheus", COSTLAB_USERS_REPLICAS="2", COSTLAB_PROMETHEUS_PORT="9190")
    of_services, of_itself = files["prometheus.yml"]["scrape_configs"]
    asked = {one["labels"]["__meta_dns_name"]: one["targets"] for one in of_services["static_configs"]}
    assert asked["users"] == ["127.0.0.1:9141", "127.0.0.1:9142"]
    assert asked["gateway"] == ["127.0.0.1:9080"]
    assert set(asked) == {"gateway", "users", "orders", "cache-proxy", "worker"}
    assert "dns_sd_configs" not in of_services
    assert of_itself["static_configs"] == [{"targets": ["127.0.0.1:9190"]}]
    assert service.command[1].startswith("--storage.tsdb.path=/")
    assert service.command[1].endswith("/prometheus")


def test_its_rules_come_along_unchanged(written):
    _, files = written("prometheus")
    for file in (ROOT / "infra" / "prometheus" / "rules").glob("*.yml"):
        assert files[file.name] == yaml.safe_load(file.read_text())


def test_grafana_finds_its_sources_and_its_dashboards(written):
    service, files = written("grafana", COSTLAB_PORT_BASE="18080")
    sources = {source["name"]: source["url"] for source in files["datasources.yaml"]["datasources"]}
    assert sources == {"Prometheus": "http://127.0.0.1:19090", "Jaeger": "http://127.0.0.1:26686"}
    dashboards = str(ROOT / "dashboards")
    assert files["dashboards.yaml"]["providers"][0]["options"]["path"] == dashboards
    assert service.environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{dashboards}/overview.json"
    told = seeing.environment("grafana", service.port(3000), Path("/state"))
    assert (told["GF_SERVER_HTTP_ADDR"], told["GF_SERVER_HTTP_PORT"]) == ("127.0.0.1", "13000")


def test_services_send_their_spans_to_the_jaeger_that_comes_along_unless_the_user_names_a_collector(tmp_path):
    def endpoint(**given):
        given = {"COSTLAB_SEEING": "on", **given}
        topology = Topology.read(ports.COMPOSE_FILE, {**ports.moved(given), **given}).on_loopback(tmp_path)
        return topology.services["worker"].environment["COSTLAB_OTLP_ENDPOINT"]

    assert endpoint() == "http://127.0.0.1:4318"
    assert endpoint(COSTLAB_PORT_BASE="18080") == "http://127.0.0.1:14318"
    assert endpoint(COSTLAB_OTLP_ENDPOINT="http://127.0.0.1:9") == "http://127.0.0.1:9"
    assert endpoint(COSTLAB_WITHOUT="jaeger") == endpoint(COSTLAB_SEEING="off") == ""


def test_what_it_may_be_is_said():
    with pytest.raises(StackError, match="COSTLAB_SEEING is 'maybe'; it must be on or off"):
        seeing.shown({"COSTLAB_SEEING": "maybe"})
    with pytest.raises(StackError, match="COSTLAB_WITHOUT names zipkin; what can be left out: grafana, jaeger, prom"):
        seeing.left_out("grafana zipkin")

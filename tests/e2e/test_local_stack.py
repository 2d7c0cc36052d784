"""The local stack as people use and abuse it. Services are stand-ins (stand_in.py); PostgreSQL, Redis and the
supervisor are real.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import psutil
import psycopg2
import pytest

from costlab.stack import ROOT, StackError, ports
from costlab.stack.local import LocalStack
from tests.conditions import eventually

pytestmark = pytest.mark.long

BESIDE = ("prometheus",) if shutil.which("prometheus") else ()
STAND_IN = Path(__file__).with_name("stand_in.py")
SERVICES = """
services:
  prepare:
    build: .
    command: [python, {stand_in}, prepare]
    restart: "no"
    environment: {{COSTLAB_TOKEN_FILE: /run/costlab/token}}
    volumes: ["control:/run/costlab"]
  users:
    build: .
    command: [python, {stand_in}, {users}]
    environment: {{COSTLAB_INTERNAL_BIND: "0.0.0.0:9000", WHO: users, SETTING: "${{COSTLAB_SETTING:-usual}}"}}
    ports: ["127.0.0.1:${{COSTLAB_USERS_INTERNAL_PORT:-9081}}:9000"]
    depends_on: {{prepare: {{condition: service_completed_successfully}}, redis: {{condition: service_healthy}}}}
  gateway:
    build: .
    command: [python, {stand_in}, serve]
    environment: {{COSTLAB_INTERNAL_BIND: "0.0.0.0:9000", WHO: gateway, COSTLAB_TOKEN_FILE: /run/costlab/token}}
    volumes: ["control:/run/costlab:ro"]
    ports: ["127.0.0.1:${{COSTLAB_GATEWAY_INTERNAL_PORT:-9080}}:9000"]
    depends_on: [users]
  redis:
    command: [redis-server, --appendonly, "yes"]
    ports: ["127.0.0.1:${{COSTLAB_REDIS_PORT:-6480}}:6379"]
"""
POSTGRES = """
  postgres:
    command: [postgres, -cshared_preload_libraries=pg_stat_statements, -cmax_connections=20]
    environment: {POSTGRES_DB: costlab, POSTGRES_PASSWORD: "p%a;s 's"}
    ports: ["127.0.0.1:${COSTLAB_POSTGRES_PORT:-5480}:5432"]
"""

SEEING = """
  prometheus:
    image: prom/prometheus
    command: [--config.file=/etc/prometheus/prometheus.yml, --storage.tsdb.path=/prometheus]
    ports: ["127.0.0.1:${COSTLAB_PROMETHEUS_PORT:-9090}:9090"]
    volumes:
      - ./infra/prometheus/prometheus.yml:/etc/prometheus/prometheus.yml:ro
      - ./infra/prometheus/rules:/etc/prometheus/rules:ro
      - prometheus:/prometheus
  jaeger:
    image: jaegertracing/jaeger
    command: [--config, /etc/jaeger/jaeger.yaml]
    ports: ["127.0.0.1:${COSTLAB_JAEGER_PORT:-16686}:16686"]
    volumes: ["./infra/jaeger/jaeger.yaml:/etc/jaeger/jaeger.yaml:ro"]
"""


def describe(folder, users="serve", more=""):
    """A topology file of stand-ins in ``folder``."""
    file = folder / "topology.yml"
    file.write_text(SERVICES.format(stand_in=STAND_IN, users=users) + more)
    return file


def environment(**settings):
    """This process's own, on free ports."""
    return {**os.environ, "COSTLAB_PORT_BASE": str(ports.keep_base()), **settings}


def ignore(_line):
    """Progress that no test looks at."""


def living(state):
    """The processes that belong to a state folder, seen without the code under test: by their open files."""
    found = []
    for process in psutil.process_iter():
        try:
            opened = [file.path for file in process.open_files()] + [process.cwd()]
        except psutil.Error:
            continue
        if any(path.startswith(str(state)) for path in opened):
            found.append(process)
    return found


@pytest.fixture
def make(tmp_path):
    """``make(users="serve", more="")``: a stack in a folder of its own, ended and removed after the test."""
    made = []

    def build(users="serve", more="", name="state", **settings):
        given = environment(**settings)
        stack = LocalStack(tmp_path / name, given, describe(tmp_path, users, more))
        made.append((stack, int(given["COSTLAB_PORT_BASE"])))
        return stack

    yield build
    for stack, base in made:
        stack.down(volumes=True)
        ports.give_back(base)
    assert living(tmp_path) == []


@pytest.fixture
def stack(make):
    """A stack that is up."""
    built = make()
    built.up(ignore)
    return built


def row(stack, name):
    return next(service for service in stack.status() if service.name == name)


def healthy(stack):
    return all(service.healthy for service in stack.status())


def test_every_service_is_healthy_and_has_a_pid_cpu_time_and_memory(stack):
    services = {service.name: service for service in stack.status()}
    assert set(services) == {"users", "gateway", "redis", "supervisor"}
    for service in services.values():
        assert service.healthy, service
        assert psutil.pid_exists(service.pid)
        assert service.memory_bytes > 1_000_000
        assert service.cpu_seconds >= 0
    assert services["users"].internal_port == services["gateway"].internal_port + 1


def test_usage_names_every_service_and_says_what_its_memory_is(stack):
    usage = stack.usage()
    assert set(usage) == {"users", "gateway", "redis", "supervisor"}
    assert {used.memory_kind for used in usage.values()} == {"pss" if sys.platform == "linux" else "rss"}


def test_a_second_up_says_that_it_runs_already_and_changes_nothing(stack):
    before, said = [service.pid for service in stack.status()], []
    stack.up(said.append)
    assert said == [f"the stack runs already: {stack.base_url()}"]
    assert [service.pid for service in stack.status()] == before


def test_another_shell_without_the_settings_finds_the_stack_by_its_folder(stack, tmp_path):
    bare = {name: value for name, value in os.environ.items() if not name.startswith("COSTLAB_")}
    other = LocalStack(tmp_path / "state", bare, tmp_path / "topology.yml")
    assert other.base_url() == stack.base_url()
    assert healthy(other)


def test_two_at_once_start_one_stack(make, tmp_path):
    first, said = make(), []
    second = LocalStack(tmp_path / "state", first._given, tmp_path / "topology.yml")
    threads = [threading.Thread(target=stack.up, args=[said.append]) for stack in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(line.startswith("the stack is up") for line in said) == 1
    assert sum(line.startswith("the stack runs already") for line in said) == 1


def test_down_leaves_no_process_and_a_second_down_is_no_error(make, tmp_path):
    stack = make()
    stack.up(ignore)
    stack.down()
    assert living(tmp_path) == []
    assert not any(service.pid for service in stack.status())
    stack.down()


@pytest.mark.parametrize("name", ["users", "redis"])
def test_a_killed_service_comes_back(stack, name):
    before = row(stack, name).pid
    stack.kill(name, signal.SIGKILL)
    eventually(lambda: row(stack, name).healthy and row(stack, name).pid != before, within=20)


def test_what_a_killed_supervisor_leaves_is_ended_by_the_next_up(stack):
    orphan = row(stack, "users").pid
    os.kill(row(stack, "supervisor").pid, signal.SIGKILL)
    eventually(lambda: row(stack, "supervisor").state == "killed")
    said = []
    stack.up(said.append)
    assert any("a killed supervisor had left behind" in line for line in said)
    assert row(stack, "users").pid != orphan
    assert healthy(stack)


def test_what_a_killed_supervisor_leaves_is_ended_by_down(stack, tmp_path):
    os.kill(row(stack, "supervisor").pid, signal.SIGKILL)
    stack.down()
    assert living(tmp_path) == []


def test_a_half_started_stack_is_completed(stack):
    """As after ``kill -9`` of the costlab that was starting it."""
    stack._supervisor.stop(["gateway"], 20)
    said = []
    stack.up(said.append)
    assert said[0] == "the stack is only partly up; starting the rest"
    assert healthy(stack)


def test_leftover_files_of_a_stack_that_is_gone_are_no_obstacle(make, tmp_path):
    stack = make()
    stack.up(ignore)
    stack.down()
    (tmp_path / "state" / "supervisord.pid").write_text("1\n")
    (tmp_path / "state" / "supervisor.sock").touch()
    stack.up(ignore)
    assert healthy(stack)


def test_a_taken_port_is_named_and_nothing_is_left_running(make, tmp_path):
    stack = make()
    gateway = int(stack.internal_urls()["gateway"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", gateway)), pytest.raises(StackError) as caught:
        stack.up(ignore)
    assert f"port {gateway}, wanted for gateway, is taken by" in str(caught.value)
    assert f"pid {os.getpid()}" in str(caught.value)
    assert living(tmp_path) == []


def test_a_service_that_fails_is_named_with_its_reason_and_nothing_is_left_running(make, tmp_path):
    stack = make(users="fail")
    with pytest.raises(StackError, match=r"^users did not start: RuntimeError: the flux capacitor is missing$"):
        stack.up(ignore)
    assert living(tmp_path) == []


def test_a_wrong_setting_is_named_with_what_it_accepts(make, tmp_path):
    stack = make()
    file = tmp_path / "topology.yml"
    served = '[gunicorn, -c, infra/gunicorn.conf.py, "services.users.app:create_app()"]'
    file.write_text(
        file.read_text()
        .replace(f"[python, {STAND_IN}, serve]", served, 1)
        .replace("WHO: users", "COSTLAB_THREADS: many")
    )
    with pytest.raises(StackError, match=r"^users did not start: .*COSTLAB_THREADS: Input should be a valid integer"):
        stack.up(ignore)
    assert living(tmp_path) == []


def test_a_program_that_is_not_installed_is_named(make, tmp_path):
    stack = make()
    file = tmp_path / "topology.yml"
    file.write_text(file.read_text().replace(f"[python, {STAND_IN}, serve]", "[granian, app]", 1))
    with pytest.raises(StackError, match="users needs granian, which is not in"):
        stack.up(ignore)


def test_a_service_that_crashes_again_and_again_is_tried_anew_by_up(stack, tmp_path):
    script = tmp_path / "state" / "run" / "users.sh"
    good = script.read_text()
    script.write_text("exit 1\n")
    stack.kill("users", signal.SIGKILL)
    eventually(lambda: row(stack, "users").state == "backoff", within=10)
    script.write_text(good)
    stack.up(ignore)
    assert healthy(stack)


def test_a_full_disk_is_one_line_and_nothing_is_left_running(make, tmp_path):
    stack = make()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "supervisord.conf").symlink_to("/dev/full")
    with pytest.raises(StackError, match="No space left on device"):
        stack.up(ignore)
    assert living(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_leaves_nothing_running(make, tmp_path, number):
    stack = make(users="hang")
    command = [sys.executable, "-m", "tests.e2e.up_stand_ins", tmp_path / "state", tmp_path / "topology.yml"]
    # A shell starts what runs in its background with SIGINT ignored, and these tests may be there.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, cwd=ROOT, env=stack._given, stdout=subprocess.PIPE, text=True) as started:
        signal.signal(signal.SIGINT, before)
        assert any(line.startswith("prepare done") for line in started.stdout)
        eventually(lambda: row(stack, "users").pid)
        started.send_signal(number)
        assert started.wait(60) == 128 + number
    assert living(tmp_path) == []


def test_restart_takes_over_the_environment_as_it_is_now(stack, monkeypatch):
    def setting():
        with urllib.request.urlopen(stack.internal_urls()["users"], timeout=5) as answer:
            return json.load(answer)["SETTING"]

    assert setting() == "usual"
    monkeypatch.setenv("COSTLAB_SETTING", "an $odd; \"one' with % in it")
    stack.restart("users")
    assert setting() == "an $odd; \"one' with % in it"
    assert healthy(stack)


def test_a_state_folder_may_have_any_name(make):
    stack = make(name='a folder\'s "name"; 100 % #odd ' + "and long " * 10)
    stack.up(ignore)
    assert healthy(stack)


def test_the_token_is_the_one_that_prepare_wrote(stack):
    assert stack.token() == "secret"


def test_logs_hold_what_the_services_said(stack):
    assert "users      | hello from users" in list(stack.logs(None, follow=False))
    assert list(stack.logs("gateway", follow=False)) == ["hello from gateway"]
    with pytest.raises(StackError, match="no service 'nobody'; there are"):
        stack.logs("nobody")


def spans_go_to(stack):
    with urllib.request.urlopen(stack.internal_urls()["users"], timeout=5) as answer:
        return json.load(answer)["COSTLAB_OTLP_ENDPOINT"]


@pytest.fixture
def seen(make, tmp_path, monkeypatch):
    """``seen(prometheus="cannot start")``: a stack that is up with what it is seen with; what was said meanwhile.

    A program is the machine's own, or a script that knows its version and fails with what is given.
    """

    def build(**programs):
        for name, last_words in programs.items():
            script = tmp_path / name
            version = "prometheus, version 3.5.0" if name == "prometheus" else '"v2.13.0"'
            script.write_text(
                f"#!/bin/sh\ncase $1 in *version) echo '{version}';; *) echo '{last_words}'; exit 1;; esac\n"
            )
            script.chmod(0o755)
            monkeypatch.setenv(name.upper(), str(script))
        without = {"COSTLAB_WITHOUT": ",".join({"prometheus", "jaeger"} - {*programs, *BESIDE})}
        stack = make(more=SEEING, COSTLAB_SEEING="on", **without)
        told = 'COSTLAB_OTLP_ENDPOINT: "${COSTLAB_OTLP_ENDPOINT-http://jaeger:4318}", WHO: users'
        (file := tmp_path / "topology.yml").write_text(file.read_text().replace("WHO: users", told))
        said = []
        stack.up(said.append)
        return stack, said

    return build


@pytest.mark.skipif(not BESIDE, reason="needs prometheus (Debian package prometheus)")
def test_prometheus_comes_along_and_asks_the_services_where_they_are(seen):
    stack, said = seen()
    address = row(stack, "prometheus").url
    assert f"prometheus: {address}" in said
    assert "prometheus" not in stack.usage()

    def asked():
        with urllib.request.urlopen(f"{address}/api/v1/targets", timeout=5) as answer:
            targets = json.load(answer)["data"]["activeTargets"]
        return {target["labels"].get("service"): target["scrapeUrl"] for target in targets}

    with urllib.request.urlopen(f"{address}/api/v1/rules", timeout=5) as answer:
        assert json.load(answer)["data"]["groups"]
    urls = {name: f"{url}/metrics" for name, url in stack.internal_urls().items()}
    eventually(lambda: asked() == {**urls, None: f"{address}/metrics"})
    os.kill(row(stack, "supervisor").pid, signal.SIGKILL)
    stack.down()  # and the fixture looks whether anything lives


def test_what_the_stack_is_seen_with_is_not_there_unless_it_is_asked_for(make):
    assert set(make(more=SEEING)._topology().services) == {"prepare", "users", "gateway", "redis"}


def test_a_prometheus_that_does_not_start_is_one_warning_and_the_stack_works_without(seen):
    stack, said = seen(prometheus="cannot open the box of Pandora")
    reason = "did not start: cannot open the box of Pandora"
    assert [line for line in said if line.startswith("warning")] == [f"warning: prometheus is left out: {reason}"]
    assert stack.left_out() == {"prometheus": reason}
    assert healthy(stack)
    assert "prometheus" not in {service.name for service in stack.status()}


def test_without_a_jaeger_that_starts_no_service_sends_spans(seen):
    stack, _ = seen(jaeger="cannot remember")
    assert stack.left_out() == {"jaeger": "did not start: cannot remember"}
    assert spans_go_to(stack) == ""
    stack.restart("users")
    assert spans_go_to(stack) == ""


def test_a_port_that_is_taken_leaves_out_what_wanted_it(make):
    stack = make(more=SEEING, COSTLAB_SEEING="on")
    base, said = int(stack._given["COSTLAB_PORT_BASE"]), []
    if not BESIDE:
        pytest.skip("needs prometheus (Debian package prometheus)")
    with socket.create_server(("127.0.0.1", base + 1010)):
        stack.up(said.append)
    assert f"port {base + 1010} is taken by" in stack.left_out()["prometheus"]
    assert healthy(stack)


def test_postgres_keeps_its_data_over_down_and_loses_it_with_its_volume(make):
    stack = make(more=POSTGRES)
    stack.up(ignore)

    def ask(statement):
        with (
            psycopg2.connect(stack.dsn("postgres").replace("p%a;s 's", "p%25a;s%20's")) as link,
            link.cursor() as cursor,
        ):
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None

    ask("create table kept as select 42 as answer")
    stack.down()
    stack.up(ignore)
    assert ask("select answer from kept") == 42
    assert row(stack, "postgres").processes > 1
    stack.kill("postgres", signal.SIGKILL)
    eventually(lambda: row(stack, "postgres").healthy, within=30)
    assert ask("select answer from kept") == 42
    stack.down()
    (file := stack._file).write_text(file.read_text().replace("p%a;s 's", "another"))
    with pytest.raises(StackError, match="made with another COSTLAB_DB_PASSWORD"):
        stack.up(ignore)
    file.write_text(file.read_text().replace("another", "p%a;s 's"))
    stack.down(volumes=True)
    stack.up(ignore)
    assert ask("select to_regclass('kept')") is None

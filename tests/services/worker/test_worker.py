"""The worker as it runs: its routes, its readiness, its consumers' names, its settings."""

import pytest
from pydantic import ValidationError

from services.worker.app import create_app
from services.worker.settings import WorkerSettings
from tests.conditions import eventually
from tests.services.conftest import running


@pytest.fixture
def environment(server, database):
    return {"REDIS_URL": server.url, "DATABASE_URL": database.url, "JOB_CPU_MS": "0"}


@pytest.fixture
def app(environment):
    with running(create_app, environment) as app:
        yield app


@pytest.fixture
def client(app):
    return app.test_client()


def test_an_order_is_fulfilled_and_can_be_asked_for(client, stream):
    assert client.get("/fulfilments/7").status_code == 404
    stream.place(7)
    eventually(lambda: client.get("/fulfilments/7").status_code == 200)
    found = client.get("/fulfilments/7").json
    assert found.pop("fulfilled_at").endswith("+00:00")
    assert found == {"order_id": 7, "key": "order:7", "units": 2, "deliveries": 1}


@pytest.mark.parametrize("path", ["/fulfilments/99999999999999999999999", "/fulfilments/x", "/fulfilments/0"])
def test_what_cannot_be_an_order_is_404(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


def test_it_is_ready_while_postgres_redis_and_its_consumers_are_there(client):
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["checks"]) == (200, {"postgres": "ok", "redis": "ok", "consumers": "ok"})


def test_it_is_not_ready_without_redis(client, server):
    server.kill()
    answer = client.get("/readyz")
    server.start()
    assert answer.status_code == 503
    assert answer.json["checks"]["redis"] != "ok"
    eventually(lambda: client.get("/readyz").status_code == 200)


def test_every_consumer_has_a_name_of_its_own_that_another_life_does_not_have(environment, stream):
    seen = set()
    for life in (1, 2):
        with running(create_app, environment | {"JOB_WAIT_MS": "50"}):
            for _ in range(12):  # Redis knows a consumer by the first job it gets
                stream.place()
            eventually(lambda: len(stream.consumers()) == 4)
            seen |= stream.consumers()
        assert stream.consumers() == set()
        assert len(seen) == 4 * life


@pytest.mark.parametrize(
    ("name", "value"),
    [("job_attempts", 0), ("job_cpu_ms", -1), ("job_wait_ms", 1001), ("job_claim_ms", 10)],
)
def test_a_setting_out_of_range_is_refused(name, value):
    with pytest.raises(ValidationError, match=name):
        WorkerSettings(redis_url="redis://localhost", database_url="postgresql://u@h/d", **{name: value})

"""Faults of the input: seen by clients of the running stack, gone when they are over, refused where they cannot be."""

import threading
import time
import urllib.error

import psutil
import pytest

from costlab.failure import Failure
from costlab.service.faults import Registry
from costlab.service.rollout import bucket
from costlab.stack import fault_keeper
from costlab.stack.chaos import Chaos, ChaosError
from costlab.stack.kept_faults import KeptFaults
from tests.conditions import eventually
from tests.e2e.conftest import Client
from tests.e2e.test_effects import total

pytestmark = pytest.mark.long

HISTORY = "/api/users/7/orders"
PATIENCE_SECONDS = 30


@pytest.fixture
def chaos(stack, control, client):
    """No fault is left, and everything answers, when the test ends."""
    broken = Chaos(stack)
    yield broken
    broken.clear()
    assert broken.status() == []
    eventually(lambda: all(row.healthy for row in stack.status()), within=PATIENCE_SECONDS)
    eventually(lambda: client.get(HISTORY).status == 200, within=PATIENCE_SECONDS)


def wish(fault: str, on: str, ttl: float = 60, **parameters: object) -> dict[str, object]:
    seed = {"seed": 7} if Registry.load()[fault].seeded else {}
    return {"fault": fault, "on": on, "ttl": ttl, "parameters": parameters} | seed


def refused(chaos: Chaos, document: dict[str, object], says: str) -> None:
    with pytest.raises(Failure, match=says):
        chaos.add(document)
    assert chaos.status() == []


# bad_setting


@pytest.fixture
def unchecked(control):
    """Documents are taken over as they are."""
    control.set_flags({"service.config_validation": "off"})


def test_a_bad_setting_fails_requests_until_its_time_is_over(chaos, client, unchecked):
    """Nobody clears it: each process drops it by its own clock."""
    record = chaos.add(wish("bad_setting", "orders", ttl=2))
    assert client.get(HISTORY).status == 500
    assert [found.id for found in chaos.status()] == [record.id]
    eventually(lambda: client.get(HISTORY).status == 200, within=PATIENCE_SECONDS)
    assert time.time() >= record.until - 0.05
    assert chaos.status() == []


def test_with_validation_a_bad_setting_is_refused_and_the_fault_says_so(chaos, client):
    refused(chaos, wish("bad_setting", "orders"), r"orders refuses the document, as service\.config_validation is on")
    assert client.get(HISTORY).status == 200


def test_validation_switched_on_ends_the_effect_of_a_bad_setting(chaos, control, client, unchecked):
    chaos.add(wish("bad_setting", "orders"))
    assert client.get(HISTORY).status == 500
    control.set_flags({"service.config_validation": "on"})
    eventually(lambda: client.get(HISTORY).status == 200)


def test_a_bad_setting_reaches_nobody_who_reads_the_document_at_start_only(chaos, control, client, stack, unchecked):
    """And whoever starts while it lasts has it."""
    control.set_flags({"service.config": "restart"})
    record = chaos.add(wish("bad_setting", "orders", setting="max_lines", value="0"))
    body = {"user_id": 1, "lines": [{"product_id": 5, "quantity": 1}]}
    assert client.post("/api/orders", body).status == 201
    stack.restart("orders")
    reply = client.post("/api/orders", body)
    assert (reply.status, reply.json["errors"][0]["message"]) == (422, "an order has at most 0 lines for now")
    chaos.remove(record.id)
    assert client.post("/api/orders", body).status == 201


def test_a_bad_setting_waits_for_the_next_look_of_those_who_poll(chaos, control, client, unchecked):
    control.set_flags({"service.config": "poll", "service.config_poll": 3600})
    chaos.add(wish("bad_setting", "orders"))
    assert client.get(HISTORY).status == 200
    control.set_flags({"service.config_poll": 0.3})
    eventually(lambda: client.get(HISTORY).status == 500)


def test_what_the_operator_sets_meanwhile_is_in_force_afterwards(chaos, control, client, unchecked):
    record = chaos.add(wish("bad_setting", "orders"))
    try:
        revision = control.set_configuration("orders", {"max_page": 2})
        eventually(lambda: set(control.configuration_revisions("orders")) == {revision})
        assert client.get(HISTORY).status == 500
        chaos.remove(record.id)
        assert len(client.get(HISTORY).json["orders"]) == 2
    finally:
        revision = control.set_configuration("orders", {"max_page": None})
        eventually(lambda: set(control.configuration_revisions("orders")) == {revision})


def test_two_bad_settings_of_one_setting_end_one_by_one(chaos, client, unchecked):
    first = chaos.add(wish("bad_setting", "orders", value="many"))
    second = chaos.add(wish("bad_setting", "orders", value="more"))
    chaos.remove(first.id)
    assert client.get(HISTORY).status == 500
    chaos.remove(second.id)
    assert client.get(HISTORY).status == 200


@pytest.mark.parametrize(
    ("on", "parameters", "says"),
    [
        ("users", {}, "users has no configuration document"),
        ("orders", {"setting": "min_page"}, "orders has no setting 'min_page'; it has: max_page, max_lines"),
        ("orders", {"value": "5"}, r"allows max_page to be 5, so nothing would be bad; allowed: 1 to 100 \(whole\)"),
    ],
)
def test_a_setting_that_is_none_or_not_bad_is_refused(chaos, on, parameters, says):
    refused(chaos, wish("bad_setting", on, **parameters), says)


# bad_version


def answers(client, users) -> dict[int, object]:
    return {user: client.get(f"/api/users/{user}") for user in users}


def test_a_bad_version_answers_the_users_that_the_seed_says_and_nobody_else(chaos, client, control):
    users = range(1, 31)
    chaos.add(wish("bad_version", "users", version="v2_wrong", percent=30))
    drawn = {user for user in users if bucket("chaos-7", "users.version", str(user)) < 30}
    assert 0 < len(drawn) < 30
    wrong = {user for user, reply in answers(client, users).items() if reply.json["name"] == reply.json["email"]}
    assert wrong == drawn
    assert control.rollouts()["users.version"]["value"] == "v2_wrong"
    assert chaos.clear() == 1
    assert not any(reply.json["name"] == reply.json["email"] for reply in answers(client, users).values())
    assert control.rollouts() == {}


def test_a_bad_version_ends_at_its_time(chaos, client):
    record = chaos.add(wish("bad_version", "users", ttl=2, version="v2_wrong", percent=100))
    assert client.get("/api/users/7").headers["X-Costlab-Version"] == "v2_wrong"
    eventually(lambda: client.get("/api/users/7").headers["X-Costlab-Version"] == "v1", within=PATIENCE_SECONDS)
    assert time.time() >= record.until - 0.05
    eventually(lambda: chaos.status() == [])


def test_an_operator_who_aborts_the_rollout_ends_a_bad_version(chaos, client, control):
    chaos.add(wish("bad_version", "users", version="v2_wrong", percent=100))
    control.roll_out({"users.version": None})
    assert chaos.status() == []
    assert client.get("/api/users/7").headers["X-Costlab-Version"] == "v1"


def test_a_bad_version_beside_a_rollout_is_refused_and_leaves_it_alone(chaos, control):
    control.roll_out({"users.version": {"value": "v2", "percent": 1}})
    refused(chaos, wish("bad_version", "users"), r"users\.version = v2 is being rolled out; costlab rollout abort")
    chaos.clear()
    assert control.rollouts()["users.version"]["value"] == "v2"
    control.roll_out({"users.version": None})
    refused(chaos, wish("bad_version", "orders"), "orders has no versions; users has")


# poison_tenant


def test_a_poison_tenant_waits_and_nobody_else_does(chaos, client):
    chaos.add(wish("poison_tenant", "users", client="batch", ms=400))
    assert seconds(lambda: client.get("/api/users/7", **{"X-Api-Key": "batch"})) >= 0.4
    eventually(lambda: seconds(lambda: client.get("/api/users/7")) < 0.35, within=PATIENCE_SECONDS)
    chaos.clear()
    eventually(lambda: seconds(lambda: client.get("/api/users/7", **{"X-Api-Key": "batch"})) < 0.35)


def test_a_poison_tenant_whose_requests_hang_holds_every_thread_and_so_everybody(chaos, client, stack):
    """More requests of one client than users has threads: others wait too, until it is cleared elsewhere."""
    port = next(row.port for row in stack.status() if row.name == "users")
    if port is None:
        pytest.skip("the port of users is not published here")
    chaos.add(wish("poison_tenant", "users", client="batch", ms=60000, then="reset"))
    users = Client(f"http://127.0.0.1:{port}")
    held = [threading.Thread(target=ignored, args=(users,)) for _ in range(40)]
    for thread in held:
        thread.start()
    try:
        eventually(lambda: client.get("/api/users/7", **{"X-Request-Timeout-Ms": "300"}).status == 504)
    finally:
        chaos.clear()
        for thread in held:
            thread.join(30)
    eventually(lambda: client.get("/api/users/7").status == 200, within=PATIENCE_SECONDS)


def test_a_poison_tenant_kills_one_process_after_the_other(chaos, client, stack):
    """gunicorn starts another each time, and others are served by it."""
    master = next(row.pid for row in stack.status() if row.name == "users")
    if master is None or not psutil.pid_exists(master):
        pytest.skip("the processes of users cannot be seen from here")
    chaos.add(wish("poison_tenant", "users", client="batch", ms=0, then="crash"))
    for _ in range(2):
        before = workers(master)
        assert client.get("/api/users/7", **{"X-Api-Key": "batch"}).status >= 500
        eventually(lambda seen=before: len(workers(master) - seen) > 0, within=PATIENCE_SECONDS)
        eventually(lambda: client.get("/api/users/7").status == 200, within=PATIENCE_SECONDS)
    chaos.clear()
    eventually(lambda: client.get("/api/users/7", **{"X-Api-Key": "batch"}).status == 200, within=PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("on", "client_name", "says"),
    [
        ("users", "nobody", "there is no client 'nobody'; there are: anonymous, batch, demo"),
        ("gateway", "demo", "gateway is not told whose request it is; those that are: users, orders, cache-proxy"),
        ("users", "No such", "client cannot be 'No such'; allowed: text that is"),
    ],
)
def test_a_tenant_or_a_place_that_cannot_be_is_refused(chaos, on, client_name, says):
    refused(chaos, wish("poison_tenant", on, client=client_name), says)


def seconds(action) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def ignored(users: Client) -> None:
    try:
        users.get("/users/7", **{"X-Client": "batch"})
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return


def workers(master: int) -> set[int]:
    return {
        child.pid for child in psutil.Process(master).children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE
    }


# traffic_burst


def arrived(control) -> float:
    return total(control, "gateway", "http_server_request_duration_seconds_count", http_route="/api/products/{id}")


def test_a_traffic_burst_sends_what_was_asked_and_is_over_at_its_time(chaos, control):
    """30/s for 3 s are 90 requests, 40 % of them product pages: 36, and from 10 to 70 for sure."""
    before, asked = arrived(control), time.monotonic()
    chaos.add(wish("traffic_burst", "gateway", ttl=3, per_second=30))
    [generator] = generators(chaos)
    eventually(lambda: fault_keeper.identity(generator[0]) != generator[1], within=PATIENCE_SECONDS)
    # Its last request comes a little before its end, and its record is made a little after its start.
    assert time.monotonic() >= asked + 2.5
    eventually(lambda: chaos.status() == [], within=PATIENCE_SECONDS)
    assert 10 <= arrived(control) - before <= 70


def test_a_traffic_burst_that_is_cleared_stops_at_once(chaos, control):
    chaos.add(wish("traffic_burst", "gateway", ttl=300, per_second=20))
    [generator] = generators(chaos)
    tree = psutil.Process(generator[0]).children()
    assert tree, "the sender is a process of its own"
    assert chaos.clear() == 1
    eventually(lambda: fault_keeper.identity(generator[0]) is None, within=10)
    eventually(lambda: not any(child.is_running() for child in tree), within=10)


def test_a_burst_nobody_can_receive_is_refused_with_the_reason_in_a_line(chaos, stack, monkeypatch):
    monkeypatch.setattr(type(stack), "base_url", lambda _stack: "http://127.0.0.1:9")
    with pytest.raises(Failure, match=r"the generator did not start: load: cannot reach http://127\.0\.0\.1:9") as said:
        chaos.add(wish("traffic_burst", "gateway"))
    assert "\n" not in str(said.value)
    assert chaos.status() == []


@pytest.mark.parametrize(
    ("on", "parameters", "says"),
    [
        ("users", {}, "traffic comes in at the gateway, not at users"),
        ("gateway", {"per_second": 2000}, "a burst has at most 100000 requests, this would be 120000"),
        ("gateway", {"traffic": "smoke"}, "traffic cannot be 'smoke'; allowed: browse or checkout"),
    ],
)
def test_a_burst_that_cannot_be_is_refused(chaos, on, parameters, says):
    refused(chaos, wish("traffic_burst", on, **parameters), says)


def generators(chaos) -> list[tuple[int, str]]:
    kept: KeptFaults = chaos._levels["input"]._kept
    return [tuple(one) for _, document in kept._documents() for one in document["undo"]["end"]]


def test_faults_of_the_input_have_no_rate_unless_they_meet_requests(chaos):
    with pytest.raises(ChaosError, match="bad_version has no rate"):
        chaos.add(wish("bad_version", "users") | {"rate": 0.5})
    with pytest.raises(ChaosError, match="a route goes with requests that come in"):
        chaos.add(wish("traffic_burst", "gateway") | {"route": "/api/orders"})

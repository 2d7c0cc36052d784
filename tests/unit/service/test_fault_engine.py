"""Faults in a process: they come by Redis, end by the process's own clock, and are seen where requests pass."""

import time
from collections import Counter

import pytest
from redis import Redis

from costlab.service import metrics
from costlab.service.app import Service
from costlab.service.fault_engine import FaultEngine
from costlab.service.fault_header import FAULT, SIGNATURE, TOKEN, sign
from costlab.service.fault_store import RECORDS, FaultStore
from costlab.service.faults import BadFault, Record, Registry
from costlab.service.settings import ServiceSettings
from tests.conditions import eventually

REGISTRY = Registry.load()


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now


def wish(**words):
    return REGISTRY.wish({"fault": "latency", "on": "users"} | words)


def record(**words) -> Record:
    return Record.of(wish(**words), time.time())


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(redis):
    return FaultStore(redis, REGISTRY)


@pytest.fixture
def engine(redis, clock):
    made = FaultEngine("users", redis, 9081, clock)
    made.edge("postgres")
    yield made
    made.stop()


def test_a_fault_is_in_force_until_its_time_by_the_clock_of_the_process(engine, store, clock):
    store.add(record(ttl=10))
    engine.refresh()
    [active] = engine.inbound.active
    assert active.effect() is not None
    clock.now += 9.9
    assert active.effect() is not None
    assert len(engine.records()) == 1
    clock.now += 0.2
    assert active.effect() is None
    assert engine.records() == []


def test_it_is_gone_at_its_time_though_redis_still_has_it(redis, store):
    """By a timer: the hash is written without an end, as by a Redis whose clock stands still."""
    engine = FaultEngine("users", redis)
    store.add(record(ttl=1))
    redis.persist(RECORDS)
    engine.refresh()
    assert engine.inbound.active
    eventually(lambda: not engine.inbound.active, within=5)
    store.add(record(ttl=1, fault="errors"))
    engine.refresh()
    assert [active.record.fault for active in engine.inbound.active] == ["errors"]
    engine.stop()


def test_a_process_that_starts_later_takes_over_what_is_left_and_nothing_old(engine, store, redis):
    now = time.time()
    store.add(Record.of(wish(ttl=60), now - 50))
    store.add(Record.of(wish(ttl=5), now - 50))
    redis.persist(RECORDS)
    engine.refresh()
    [active] = engine.inbound.active
    assert 9 < active.record.left(time.time()) <= 10


def test_redis_forgets_faults_with_the_last_of_them(store, redis):
    store.add(record(ttl=100))
    store.add(record(ttl=10))
    assert 95_000 < redis.pttl(RECORDS) <= 100_000
    assert len(store.read()[1]) == 2


def test_a_fault_stays_when_redis_has_lost_it_and_ends_when_it_was_cleared(engine, store, redis):
    store.add(record())
    engine.refresh()
    redis.flushall()
    engine.refresh()
    assert len(engine.records()) == 1
    store.add(record(fault="hang"))
    engine.refresh()
    assert [each.fault for each in engine.records()] == ["hang"]
    store.clear()
    engine.refresh()
    assert engine.records() == []


def test_one_can_be_taken_away(engine, store):
    first, second = record(), record(edge="postgres")
    store.add(first)
    revision = store.add(second)
    engine.refresh()
    assert engine.revision == revision
    assert store.remove(first.id)[1] == 1
    assert store.remove(first.id)[1] == 0
    engine.refresh()
    assert engine.records() == [second]
    assert engine.inbound.active == ()
    assert len(engine.edge("postgres").active) == 1


def test_a_service_takes_what_is_for_it_and_an_instance_what_is_for_it_alone(engine, store):
    store.add(record(on="orders"))
    store.add(Record.of(wish(on="users-2"), time.time(), "elsewhere:9081"))
    engine.refresh()
    assert engine.records() == []
    store.add(engine.granted(wish(on="users-2")))
    engine.refresh()
    assert [each.on for each in engine.records()] == ["users-2"]


def test_the_gauge_says_how_many_of_each_are_active(engine, store):
    def value(fault: str, edge: str) -> float:
        labels = {"fault": fault, "target": "users", "edge": edge}
        return metrics.REGISTRY.get_sample_value("costlab_faults_active", labels)

    store.add(record())
    store.add(record())
    store.add(record(fault="errors", edge="postgres"))
    engine.refresh()
    assert (value("latency", ""), value("errors", "postgres")) == (2, 1)
    store.clear()
    engine.refresh()
    assert (value("latency", ""), value("errors", "postgres")) == (0, 0)


def test_a_bug_is_logged_and_what_comes_later_is_followed_all_the_same(engine, store, monkeypatch, caplog):
    read, broken = engine.store.read, [True]

    def sometimes():
        if broken:
            broken.clear()
            raise RuntimeError("a bug")
        return read()

    engine.start()
    monkeypatch.setattr(engine.store, "read", sometimes)
    store.add(record())
    eventually(lambda: len(engine.records()) == 1, within=10)
    assert "faults.failed" in caplog.text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"on": "orders"}, "this is users, not orders"),
        ({"on": "users-0"}, "this is users, not users-0"),
        ({"edge": "redis"}, "users has no edge 'redis'; it has: postgres"),
        ({"route": "/nowhere"}, "users has no route '/nowhere'; it has: "),
        ({"fault": "capacity_cut"}, "capacity_cut does not fit: users has no slot pool"),
    ],
)
def test_what_does_not_fit_the_service_is_refused_with_the_reason(engine, words, says):
    with pytest.raises(BadFault) as refused:
        engine.granted(wish(**words))
    assert says in str(refused.value)


# In a service


@pytest.fixture
def service(redis, redis_url, tmp_path):
    token = tmp_path / "token"
    token.write_text("secret")
    made = Service("users", ServiceSettings(redis_url=redis_url, token_file=token, internal_bind="127.0.0.1:9999"))
    made.app.add_url_rule("/users/<int:user_id>", endpoint="user", view_func=lambda user_id: {"id": user_id})
    made.app.add_url_rule("/long", endpoint="long", view_func=lambda: "x" * 100)
    made.slots("users.slots", "users.slot_ms")
    made.faults.start()
    yield made
    made.stop()


@pytest.fixture
def public(service):
    return service.app.test_client()


@pytest.fixture
def inside(service):
    client = service.app.test_client()
    client.environ_base["SERVER_PORT"] = "9999"
    given = {"Authorization": "Bearer secret"}
    return lambda method, path, headers=given, **more: client.open(
        path, method=method, base_url="http://localhost:9999", headers=headers, **more
    )


def add(inside, **words):
    answer = inside("POST", "/faults", json=wish(**words).document())
    assert answer.status_code == 201, answer.json
    return answer.json["fault"]


def timed(public, path, **headers):
    started = time.monotonic()
    answer = public.get(path, headers=headers)
    assert answer.data
    return answer, time.monotonic() - started


def observed(what: str, route: str, status: str) -> float:
    """The histogram of durations of GET: its ``sum`` in seconds, or its ``count``."""
    labels = {"http_request_method": "GET", "http_route": route, "http_response_status_code": status}
    return metrics.REGISTRY.get_sample_value(f"http_server_request_duration_seconds_{what}", labels) or 0


def test_a_fault_is_in_force_once_it_was_added_and_over_once_it_was_cleared(public, inside):
    add(inside, parameters={"ms": 150})
    answer, seconds = timed(public, "/users/7")
    assert answer.json == {"id": 7}
    assert seconds >= 0.15
    [shown] = inside("GET", "/faults").json["faults"]
    assert 50 < shown["seconds_left"] <= 60
    assert inside("DELETE", "/faults").json["removed"] == 1
    eventually(lambda: inside("GET", "/faults").json["faults"] == [])
    assert timed(public, "/users/7")[1] < 0.15


def test_errors_are_problem_documents_and_counted(public, inside):
    def injected() -> float:
        return metrics.REGISTRY.get_sample_value("costlab_faults_injected_total", {"fault": "errors", "edge": ""}) or 0

    before = injected()
    add(inside, fault="errors", parameters={"status": 418})
    answer = public.get("/users/7")
    assert (answer.status_code, answer.json["status"], answer.json["detail"]) == (418, 418, "A fault was injected.")
    assert injected() == before + 1


def test_an_error_counts_under_the_route_it_was_for(public, inside):
    add(inside, fault="errors", parameters={"status": 418})
    before = observed("count", "/users/<int:user_id>", "418"), observed("count", "unmatched", "418")
    public.get("/users/7")
    public.get("/nothing/here")
    after = observed("count", "/users/<int:user_id>", "418"), observed("count", "unmatched", "418")
    assert after == (before[0] + 1, before[1] + 1)


def test_the_same_seed_fails_the_same_requests(public, inside):
    def statuses() -> list[int]:
        fault = add(inside, fault="errors", rate=0.5, seed=42)
        found = [public.get("/users/7").status_code for _ in range(40)]
        inside("DELETE", f"/faults/{fault['id']}")
        eventually(lambda: inside("GET", "/faults").json["faults"] == [])
        return found

    first = statuses()
    assert first == statuses()
    assert set(Counter(first)) == {200, 503}


def test_a_route_is_met_alone_and_health_never(public, inside):
    add(inside, fault="errors", route="/users/{id}")
    assert public.get("/users/7").status_code == 503
    assert public.get("/long").status_code == 200
    add(inside, fault="errors")
    assert public.get("/long").status_code == 503
    assert public.get("/livez").status_code == 200
    assert inside("GET", "/metrics").status_code == 200


def test_a_slow_body_dribbles_and_is_whole(public, inside):
    add(inside, fault="slow_body", parameters={"bytes_per_second": 400})
    answer, seconds = timed(public, "/long")
    assert answer.data == b"x" * 100
    assert seconds >= 0.24


def test_what_a_slow_body_takes_is_seen_where_it_is_made(public, inside):
    before = observed("sum", "/long", "200")
    add(inside, fault="slow_body", parameters={"bytes_per_second": 400})
    assert public.get("/long").status_code == 200
    assert observed("sum", "/long", "200") - before >= 0.24


def test_who_hangs_is_let_go_when_the_fault_is_cleared(service, public, inside):
    add(inside, fault="hang")
    [active] = service.faults.inbound.active
    active.end()
    answer, seconds = timed(public, "/users/7")
    assert answer.status_code == 200
    assert seconds < 5


def test_a_capacity_cut_takes_slots_and_gives_them_back(service, inside, redis):
    refused = inside("POST", "/faults", json=wish(fault="capacity_cut").document())
    assert refused.status_code == 422
    assert "switch it on first: costlab flags set users.slots=8" in refused.json["detail"]
    inside("PATCH", "/flags", json={"users.slots": 8})
    service.flags.refresh()
    add(inside, fault="capacity_cut", parameters={"share": 0.75})
    pool = service.faults.parts.slots.pool
    now = time.monotonic()
    assert sum(pool.arrive(now).admitted.is_set() for _ in range(8)) == 2
    inside("DELETE", "/faults")
    eventually(lambda: pool.in_use(now) == 8)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_changes_take_the_token_and_looking_does_not(inside, redis: Redis, method):
    assert inside(method, "/faults", headers={}, json=wish().document()).status_code == 401
    assert redis.keys() == []
    assert inside("GET", "/faults", headers={}).status_code == 200


def test_the_public_port_knows_nothing_of_it(public):
    assert public.get("/faults").status_code == 404
    assert public.post("/faults", json=wish().document()).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 422, "a fault is an object with fault, on, edge"),
        (b'{"fault": "latency", "on": "orders"}', 422, "this is users, not orders"),
        (b'{"fault": "latency", "on": "users", "rrate": 1}', 422, "unknown field 'rrate'"),
    ],
)
def test_a_bad_wish_is_refused_with_what_is_allowed(inside, body, status, says):
    answer = inside("POST", "/faults", data=body)
    assert answer.status_code == status
    assert says in answer.json["detail"]


# For one request


def test_a_request_with_the_token_has_a_fault_of_its_own(public):
    answer, seconds = timed(public, "/users/7", **{FAULT: "latency;ms=150", TOKEN: "secret"})
    assert seconds >= 0.15
    assert answer.headers[FAULT] == "latency"
    answer, seconds = timed(public, "/users/7")
    assert FAULT not in answer.headers
    assert public.get("/users/7", headers={FAULT: "errors; status=418", TOKEN: "secret"}).status_code == 418


@pytest.mark.parametrize("given", [{}, {TOKEN: "wrong"}, {TOKEN: ""}, {SIGNATURE: "0" * 64}, {TOKEN: "sécret"}])
def test_without_the_token_it_is_forbidden(public, given):
    answer = public.get("/users/7", headers={FAULT: "latency"} | given)
    assert answer.status_code == 403
    assert "takes the stack's token" in answer.json["detail"]


def test_an_empty_token_opens_nothing(service, public, tmp_path):
    (tmp_path / "token").write_text("\n")
    answer = public.get("/users/7", headers={FAULT: "latency", TOKEN: "", SIGNATURE: sign(b"", "mine", "latency")})
    assert answer.status_code == 403


def test_a_signature_holds_for_its_request_and_its_fault_alone(public):
    given = {
        FAULT: "errors;status=418",
        "X-Request-Id": "mine",
        SIGNATURE: sign(b"secret", "mine", "errors;status=418"),
    }
    assert public.get("/users/7", headers=given).status_code == 418
    assert public.get("/users/7", headers=given | {"X-Request-Id": "other"}).status_code == 403
    assert public.get("/users/7", headers=given | {FAULT: "errors;status=500"}).status_code == 403


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "it is written name;key=value"),
        ("latency;ms", "it is written name;key=value"),
        ("latency;ms=1;", "it is written name;key=value"),
        ("latency;ms=1;ms=2", "a key is given twice"),
        ("latency;sm=1", "has no parameter 'sm'; there are: ms"),
        ("latency;ms=0", "ms cannot be '0'; allowed: 1 to 60000"),
        ("latency;rate=0.5", "has no parameter 'rate'"),
        ("slow", "there is no fault 'slow'"),
        ("cpu_burn", "cpu_burn cannot be made for one request"),
        ("latency;on=orders", "no service 'orders' is reached from here; there are: users"),
        ("latency;seed=x", "seed cannot be 'x'"),
    ],
)
def test_a_header_that_means_nothing_is_refused(public, value, says):
    answer = public.get("/users/7", headers={FAULT: value, TOKEN: "secret"})
    assert answer.status_code == 400
    assert says in answer.json["detail"]


def test_health_has_no_faults(public):
    assert public.get("/livez", headers={FAULT: "errors", TOKEN: "secret"}).status_code == 400


def test_the_gateway_shows_what_is_made_outside_of_services_until_its_time_and_does_nothing_about_it(redis, clock):
    pause = Record.of(REGISTRY.wish({"fault": "pause", "on": "redis", "ttl": 10}), time.time())
    store = FaultStore(redis, REGISTRY)
    store.add(pause)
    gateway = FaultEngine("gateway", redis, 9080, clock, watches=True)
    users = FaultEngine("users", redis, 9081, clock)
    labels = {"fault": "pause", "target": "redis", "edge": ""}
    for engine in (gateway, users):
        engine.refresh()
    assert (gateway.known(), gateway.records(), gateway.inbound.active) == ([pause], [], ())
    assert users.known() == []
    assert metrics.REGISTRY.get_sample_value("costlab_faults_active", labels) == 1
    store.remove(pause.id)
    gateway.refresh()
    assert gateway.known() == []
    assert metrics.REGISTRY.get_sample_value("costlab_faults_active", labels) == 0


def test_only_who_watches_takes_a_fault_from_outside_and_only_one_that_is_made_there(redis):
    pause = Record.of(REGISTRY.wish({"fault": "pause", "on": "redis"}), time.time()).document()
    hang = record(fault="hang").document()
    gateway = FaultEngine("gateway", redis, watches=True)
    assert gateway.outside(pause).fault == "pause"
    with pytest.raises(BadFault, match="hang is made inside a service"):
        gateway.outside(hang)
    with pytest.raises(BadFault, match="users does not watch"):
        FaultEngine("users", redis).outside(pause)

"""The door: request id, deadline, trace and metrics of every request; the internal port stays inside."""

import pytest
from prometheus_client import REGISTRY
from redis import Redis

from costlab.service import context, metrics
from costlab.service.app import Service
from costlab.service.problem import Conflict
from costlab.service.settings import ServiceSettings
from costlab.service.tracing import SpanKind


@pytest.fixture
def service(redis, redis_url, tmp_path):
    token = tmp_path / "token"
    token.write_text("secret")
    settings = ServiceSettings(redis_url=redis_url, token_file=token, internal_bind="127.0.0.1:9999")
    made = Service("test", settings)

    @made.app.get("/thing/<int:number>")
    def thing(number):
        seen = context.current()
        with made.tracing.child("inner", SpanKind.CLIENT) as span:
            inner = None if span is None else context.current().traceparent
        return {"number": number, "id": seen.request_id, "trace": seen.traceparent, "inner": inner}

    @made.app.get("/conflict")
    def conflict():
        raise Conflict("It is there already.", existing=7)

    @made.app.get("/bug")
    def bug():
        raise RuntimeError("password=hunter2")

    return made


@pytest.fixture
def public(service):
    return service.app.test_client()


@pytest.fixture
def inside(service):
    """The internal port, as gunicorn tells it: by the port the connection came in on."""
    client = service.app.test_client()
    client.environ_base["SERVER_PORT"] = "9999"
    return lambda method, path, **more: client.open(path, method=method, base_url="http://localhost:9999", **more)


def count(route, status, method="GET"):
    labels = {"http_request_method": method, "http_route": route, "http_response_status_code": status}
    return metrics.REGISTRY.get_sample_value("http_server_request_duration_seconds_count", labels) or 0


def test_a_given_request_id_is_used_and_returned(public):
    answer = public.get("/thing/1", headers={"X-Request-Id": "mine"})
    assert answer.json["id"] == "mine"
    assert answer.headers["X-Request-Id"] == "mine"


def test_a_request_without_an_id_gets_one(public):
    answer = public.get("/thing/1")
    assert len(answer.json["id"]) == 16
    assert answer.headers["X-Request-Id"] == answer.json["id"]


def test_requests_are_counted_under_their_route_never_their_path(public):
    before = count("/thing/<int:number>", "200")
    public.get("/thing/1")
    public.get("/thing/2")
    assert count("/thing/<int:number>", "200") == before + 2


def test_paths_and_methods_nobody_knows_share_one_label_each(public):
    before = count("unmatched", "404"), count("unmatched", "405", "_OTHER")
    public.get("/nothing/here")
    public.get("/nor/there")
    public.open("/thing/1", method="BREW")
    assert count("unmatched", "404") == before[0] + 2
    assert count("unmatched", "405", "_OTHER") == before[1] + 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("POST", "/thing/1", 405), ("GET", "/conflict", 409), ("GET", "/bug", 500)],
)
def test_every_error_is_a_problem_document_with_the_request_id(public, method, path, status):
    answer = public.open(path, method=method, headers={"X-Request-Id": "mine"})
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["request_id"] == "mine"
    assert answer.json["title"]
    assert answer.json["detail"]


def test_a_problem_carries_its_own_members(public):
    assert public.get("/conflict").json["existing"] == 7


def test_a_bug_tells_the_client_nothing_of_the_inside(public):
    assert b"hunter2" not in public.get("/bug").data


def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(public):
    assert "GET" in public.post("/thing/1").headers["Allow"]


@pytest.mark.parametrize("path", ["/metrics", "/flags"])
def test_the_public_port_knows_nothing_of_the_control_plane(public, path):
    assert public.get(path).status_code == 404
    assert public.patch(path, json={"cache.ttl": 5}).status_code == 404


def test_a_host_header_cannot_open_the_internal_port(service):
    client = service.app.test_client()
    answer = client.get("/metrics", headers={"Host": "localhost:9999"}, environ_overrides={"SERVER_PORT": "8000"})
    assert answer.status_code == 404


def test_the_internal_port_serves_metrics_and_flags(inside):
    assert b"http_server_request_duration_seconds" in inside("GET", "/metrics").data
    assert inside("GET", "/flags").json["flags"]["cache.strategy"] == "off"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}])
def test_changing_a_flag_takes_the_token(inside, redis: Redis, headers):
    answer = inside("PATCH", "/flags", json={"cache.ttl": 5}, headers=headers)
    assert answer.status_code == 401
    assert redis.keys() == []


def test_a_flag_is_set_with_the_token(inside, service, redis: Redis):
    answer = inside("PATCH", "/flags", json={"cache.ttl": 5}, headers={"Authorization": "Bearer secret"})
    service.flags.refresh()
    assert answer.status_code == 200
    assert service.flags["cache.ttl"] == 5
    assert service.flags.revision == answer.json["revision"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b'{"cache.tll": 5}', 422, "there is no flag 'cache.tll'"),
        (b'{"cache.ttl": 0}', 422, "allowed: 0.1 to 3600"),
        (b"[]", 422, "object of flag names"),
        (b"{", 400, "not JSON"),
    ],
)
def test_a_bad_change_is_refused_with_what_is_allowed(inside, body, status, says):
    answer = inside("PATCH", "/flags", data=body, headers={"Authorization": "Bearer secret"})
    assert answer.status_code == status
    assert says in answer.json["detail"]


def test_a_block_of_an_experiment_is_marked_with_the_token_and_its_names_are_bounded(inside):
    token = {"Authorization": "Bearer secret"}
    block = {"experiment": "11-caching", "variant": "on", "round": 3}
    assert inside("PUT", "/block", json=block).status_code == 401
    assert inside("PUT", "/block", json=block, headers=token).json == block
    labels = {"experiment": "11-caching", "variant": "on"}
    assert REGISTRY.get_sample_value("costlab_block", labels) == 3
    for wrong in ({"variant": "a b"}, {"experiment": "x" * 65}, {"round": -1}):
        assert inside("PUT", "/block", json=block | wrong, headers=token).status_code == 422
    assert inside("PUT", "/block", data=b"[]", headers=token).status_code == 422


def test_nothing_is_traced_while_the_share_is_zero_but_the_trace_id_is_handed_on(public):
    given = "00-" + "a" * 32 + "-" + "b" * 16 + "-00"
    answer = public.get("/thing/1", headers={"traceparent": given}).json
    assert answer["trace"][3:35] == "a" * 32
    assert answer["trace"].endswith("-00")
    assert answer["inner"] is None


def test_a_sampled_caller_is_followed_with_a_span_of_ones_own(public):
    given = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    answer = public.get("/thing/1", headers={"traceparent": given}).json
    assert answer["trace"][3:35] == answer["inner"][3:35] == "a" * 32
    assert len({given[36:52], answer["trace"][36:52], answer["inner"][36:52]}) == 3
    assert answer["inner"].endswith("-01")


@pytest.mark.parametrize("given", ["", "nonsense", "00-" + "0" * 32 + "-" + "b" * 16 + "-01", "00-abc-def-01"])
def test_a_trace_header_that_is_no_trace_header_starts_a_new_trace(public, given):
    answer = public.get("/thing/1", headers={"traceparent": given}).json
    assert len(answer["trace"]) == 55
    assert answer["trace"][3:35] != "0" * 32


def test_the_edge_keeps_the_callers_trace_but_not_its_wish_to_be_traced(redis_url):
    service = Service("edge", ServiceSettings(redis_url=redis_url), edge=True)
    request = context.Request("id")
    span = service.tracing.enter(request, "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "GET")
    assert span is None
    assert request.traceparent[3:35] == "a" * 32


def test_readiness_names_the_check_that_fails_and_liveness_stays(service, public):
    def broken():
        raise ConnectionError("postgres is away")

    service.check("postgres", broken)
    answer = public.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["checks"] == {"postgres": "postgres is away"}
    assert public.get("/livez").status_code == 200


def test_a_sampled_request_is_an_exemplar_of_its_latency_for_who_asks_for_openmetrics(public, inside):
    public.get("/thing/1", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    public.get("/thing/1", headers={"traceparent": f"00-{'c' * 32}-{'b' * 16}-00"})
    answer = inside("GET", "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.content_type.startswith("application/openmetrics-text")
    assert 'trace_id="' + "a" * 32 in answer.text
    assert "c" * 32 not in answer.text
    assert inside("GET", "/metrics").content_type.startswith("text/plain")
    assert "a" * 32 not in inside("GET", "/metrics").text

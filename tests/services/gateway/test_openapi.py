"""The public API's document: valid OpenAPI 3.1, true to what is routed, made of what the services say."""

import re
import threading
import time

import pytest
from flask import Flask
from jsonschema import Draft202012Validator

from costlab.service import context, problem
from costlab.service import openapi as part
from costlab.service.http_client import Answer, UpstreamTimeout
from gateway import openapi, routes
from services.orders.app import create_app as create_orders
from services.users.app import create_app as create_users
from tests.conditions import eventually

SETTINGS = {
    "REDIS_URL": "redis://localhost",
    "DATABASE_URL": "postgresql://nobody@localhost/none",
    "USERS_URL": "http://users",
    "CACHE_PROXY_URL": "http://cache-proxy",
}
METHODS = {"get", "post", "put", "patch", "delete"}
# The part of the OpenAPI 3.1 meta-schema that this document can break.
DOCUMENT = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components"],
    "additionalProperties": False,
    "properties": {
        "openapi": {"pattern": r"^3\.1\.\d+$"},
        "info": {"type": "object", "required": ["title", "version"]},
        "security": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "array"}}},
        "paths": {
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "propertyNames": {"enum": sorted(METHODS)},
                "additionalProperties": {
                    "type": "object",
                    "required": ["responses", "operationId"],
                    "properties": {
                        "parameters": {"type": "array", "items": {"$ref": "#/$defs/parameter"}},
                        "requestBody": {"type": "object", "required": ["content"]},
                        "responses": {
                            "minProperties": 1,
                            "propertyNames": {"pattern": "^([1-5][0-9][0-9]|default)$"},
                            "additionalProperties": {"$ref": "#/$defs/response"},
                        },
                    },
                },
            },
        },
        "components": {
            "propertyNames": {"enum": ["schemas", "responses", "securitySchemes"]},
            "additionalProperties": {"propertyNames": {"pattern": r"^[a-zA-Z0-9._-]+$"}},
            "properties": {
                "responses": {"additionalProperties": {"$ref": "#/$defs/response"}},
                "securitySchemes": {
                    "additionalProperties": {
                        "properties": {"type": {"const": "apiKey"}, "in": {"enum": ["header", "query", "cookie"]}},
                        "required": ["type", "name", "in"],
                    }
                },
            },
        },
    },
    "$defs": {
        "parameter": {
            "type": "object",
            "required": ["name", "in", "schema"],
            "properties": {"in": {"enum": ["path", "query", "header", "cookie"]}, "required": {"type": "boolean"}},
            "if": {"properties": {"in": {"const": "path"}}},
            "then": {"required": ["required"], "properties": {"required": {"const": True}}},
        },
        "response": {"anyOf": [{"required": ["$ref"]}, {"required": ["description"]}]},
    },
}


@pytest.fixture(scope="module")
def parts():
    """What users and orders say of themselves. Nothing connects when an app is made."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(f"COSTLAB_{name}", value)
        return [part.document(create_users(), "users"), part.document(create_orders(), "orders")]


@pytest.fixture(scope="module")
def document(parts):
    return openapi.merge(parts)


def operations(document):
    return [(path, method, details) for path, item in document["paths"].items() for method, details in item.items()]


def within(value):
    """Every object in ``value``, itself included."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from within(inner)


def test_the_document_has_the_shape_of_openapi_3_1(document):
    Draft202012Validator.check_schema(DOCUMENT)
    assert [error.message for error in Draft202012Validator(DOCUMENT).iter_errors(document)] == []


def test_every_schema_in_it_is_a_json_schema(document):
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_reference_leads_somewhere(document):
    for node in within(document):
        if "$ref" in node:
            target = document
            for name in node["$ref"].removeprefix("#/").split("/"):
                assert name in target, f"{node['$ref']} leads nowhere"
                target = target[name]


def test_operation_ids_are_unique(document):
    ids = [details["operationId"] for _, _, details in operations(document)]
    assert len(ids) == len(set(ids))


def test_path_parameters_are_those_of_the_path(document):
    for path, _, details in operations(document):
        declared = {item["name"] for item in details["parameters"] if item["in"] == "path"}
        assert declared == set(re.findall(r"\{(\w+)\}", path)), path


def test_what_is_routed_is_documented_and_nothing_else(document):
    documented = {(re.sub(r"\{\w+\}", "{id}", path), method.upper()) for path, method, _ in operations(document)}
    routed = {(route.label, method) for route in routes.ROUTES for method in route.methods if method != "HEAD"}
    assert documented == routed


def test_every_operation_says_how_it_fails(document):
    for _, _, details in operations(document):
        assert {"401", "429", "502", "503", "504", "default"} <= set(details["responses"])
        described = details["responses"]["default"]["content"]
        assert list(described) == [problem.MEDIA_TYPE]


def test_bodies_are_described_by_the_models_that_validate_them(document):
    body = document["paths"]["/api/orders"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    name = body["$ref"].rpartition("/")[2]
    assert set(document["components"]["schemas"][name]["properties"]) >= {"user_id", "lines"}


def test_two_services_cannot_mean_different_things_by_one_name():
    def says(schema):
        return {"paths": {}, "components": {"schemas": {"Thing": schema}}}

    with pytest.raises(openapi.SchemaConflict, match="Thing"):
        openapi.merge([says({"type": "string"}), says({"type": "integer"})])


class Service:
    """A service that is asked for its part."""

    upstream = "users"

    def __init__(self, answer):
        self.asked = 0
        self.answer = answer

    def get(self, target):
        self.asked += 1
        return self.answer()


def client(*services, clock=lambda: 0.0):
    app = Flask("gateway")
    problem.install(app)
    app.register_blueprint(openapi.blueprint(services, clock))
    return app.test_client()


EMPTY = b'{"paths": {}, "components": {"schemas": {}}}'


def test_the_document_is_kept_for_a_while():
    now = [0.0]
    service = Service(lambda: Answer(200, [], EMPTY))
    asks = client(service, clock=lambda: now[0])
    assert [asks.get("/openapi.json").status_code for _ in range(3)] == [200] * 3
    assert service.asked == 1
    now[0] = openapi.KEEP_SECONDS
    asks.get("/openapi.json")
    assert service.asked == 2


def timeout():
    raise UpstreamTimeout("users did not answer")


@pytest.mark.parametrize("answer", [timeout, lambda: Answer(500, [], b"oops")])
def test_while_a_service_cannot_be_asked_there_is_no_document_and_nothing_is_kept(answer):
    service = Service(answer)
    asks = client(service)
    refused = asks.get("/openapi.json")
    assert refused.status_code == 503
    assert "users" in refused.json["detail"]
    service.answer = lambda: Answer(200, [], EMPTY)
    assert asks.get("/openapi.json").status_code == 200


@pytest.mark.parametrize("answer", [timeout, lambda: Answer(500, [], b"oops")])
def test_a_document_that_cannot_be_renewed_is_served_until_it_can(answer):
    now = [0.0]
    service = Service(lambda: Answer(200, [], EMPTY))
    asks = client(service, clock=lambda: now[0])
    old = asks.get("/openapi.json").json
    now[0] += openapi.KEEP_SECONDS
    service.answer = answer
    kept = asks.get("/openapi.json")
    assert (kept.status_code, kept.json, service.asked) == (200, old, 2)
    service.answer = lambda: Answer(200, [], EMPTY.replace(b'"schemas": {', b'"schemas": {"New": {}'))
    assert "New" in asks.get("/openapi.json").json["components"]["schemas"]


@pytest.mark.parametrize(("client_waits", "most"), [(0.5, 0.5), (60, openapi.ASK_SECONDS), (None, openapi.ASK_SECONDS)])
def test_services_are_asked_for_as_long_as_the_client_waits_and_no_longer_than_the_limit(client_waits, most):
    left = []

    def late():
        left.append(context.remaining())
        return Answer(200, [], EMPTY)

    services = [Service(late), Service(late)]
    deadline = None if client_waits is None else time.monotonic() + client_waits
    request = context.Request("mine", deadline)
    context.enter(request)
    try:
        assert client(*services).get("/openapi.json").status_code == 200
    finally:
        context.enter(None)
    assert all(0 < each <= most for each in left)
    assert len(left) == 2
    assert request.deadline == deadline


@pytest.mark.parametrize("old", [False, True])
def test_nobody_waits_for_another_who_asks(old):
    """Who comes meanwhile gets the old document, if there is one."""
    asked, go_on, now = threading.Event(), threading.Event(), [0.0]

    def slow():
        asked.set()
        go_on.wait(10)
        return Answer(200, [], EMPTY)

    service = Service(lambda: Answer(200, [], EMPTY))
    asks = client(service, clock=lambda: now[0])
    if old:
        asks.get("/openapi.json")
        now[0] += openapi.KEEP_SECONDS
    service.answer = slow
    first = []
    thread = threading.Thread(target=lambda: first.append(asks.get("/openapi.json").status_code))
    thread.start()
    eventually(asked.is_set)
    assert asks.application.test_client().get("/openapi.json").status_code == (200 if old else 503)
    go_on.set()
    thread.join()
    assert first == [200]

"""OpenAPI 3.1 from the code that serves: routes from Flask's URL map, schemas from the models that validate input.

    @routes.post("/users")
    @operation("Create a user", body=NewUser, answers={201: User})
    def create() -> Response: ...

Each service serves its own part at ``/openapi.json``; the gateway puts the parts together.
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from costlab.service import problem

VERSION = "3.1.0"
View = TypeVar("View", bound=Callable[..., Any])
_PARAMETER = re.compile(r"<(?:(\w+)(?:\([^)]*\))?:)?(\w+)>")
_SCHEMA_REF = "#/components/schemas/{model}"
PROBLEM_SCHEMA = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["type", "title", "status", "detail"],
}


def operation(
    summary: str,
    *,
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    headers: dict[str, str] | None = None,
    answers: dict[int, type[BaseModel] | None],
) -> Callable[[View], View]:
    """Describe a view. ``answers`` maps statuses to their models; ``headers`` request headers to what they do."""

    def mark(view: View) -> View:
        view.__operation__ = {  # type: ignore[attr-defined]
            "summary": summary,
            "query": query,
            "body": body,
            "headers": headers or {},
            "answers": answers,
        }
        return view

    return mark


def document(app: Flask, title: str) -> dict[str, Any]:
    """The OpenAPI document of every described view of ``app``."""
    described = [
        (rule, method.lower(), app.view_functions[rule.endpoint].__operation__)
        for rule in sorted(app.url_map.iter_rules(), key=str)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if hasattr(app.view_functions[rule.endpoint], "__operation__")
    ]
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, details in described:
        paths.setdefault(_PARAMETER.sub(r"{\2}", rule.rule), {})[method] = _operation(rule.rule, method, details)
    return {
        "openapi": VERSION,
        "info": {"title": title, "version": "1"},
        "paths": paths,
        "components": {"schemas": _schemas([details for _, _, details in described])},
    }


def _operation(rule: str, method: str, details: dict[str, Any]) -> dict[str, Any]:
    written: dict[str, Any] = {
        "summary": details["summary"],
        "operationId": f"{method}{re.sub(r'[^a-z]+', '_', rule.lower()).rstrip('_')}",
        "parameters": [*_path_parameters(rule), *_query_parameters(details["query"]), *_headers(details["headers"])],
        "responses": {str(status): _answer(status, model) for status, model in details["answers"].items()},
    }
    written["responses"]["default"] = {
        "description": "What went wrong.",
        "content": {problem.MEDIA_TYPE: {"schema": {"$ref": _SCHEMA_REF.format(model="Problem")}}},
    }
    if details["body"] is not None:
        written["requestBody"] = {"required": True, "content": {"application/json": _content(details["body"])}}
    return written


def _answer(status: int, model: type[BaseModel] | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if model is not None:
        answer["content"] = {"application/json": _content(model)}
    return answer


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": _SCHEMA_REF.format(model=model.__name__)}}


def _path_parameters(rule: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer" if kind == "int" else "string"},
        }
        for kind, name in _PARAMETER.findall(rule)
    ]


def _query_parameters(model: type[BaseModel] | None) -> list[dict[str, Any]]:
    if model is None:
        return []
    schema = model.model_json_schema()
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]


def _headers(headers: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in headers.items()
    ]


def _schemas(described: list[dict[str, Any]]) -> dict[str, Any]:
    inputs = {details["body"] for details in described if details["body"] is not None}
    outputs = {model for details in described for model in details["answers"].values() if model is not None}
    models = [(model, "validation") for model in inputs] + [(model, "serialization") for model in outputs - inputs]
    _, written = models_json_schema(models, ref_template=_SCHEMA_REF)
    return dict(sorted(written.get("$defs", {}).items())) | {"Problem": PROBLEM_SCHEMA}

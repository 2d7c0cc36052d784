"""Request input through pydantic models: what a model refuses becomes one problem document that says why."""

from typing import TypeVar

import orjson
from flask import request
from pydantic import BaseModel, ValidationError

from costlab.service import problem

Model = TypeVar("Model", bound=BaseModel)


def body(model: type[Model]) -> Model:
    """The JSON body of the current request as ``model``; 400, 413, 415 or 422 when it is not one."""
    if request.mimetype != "application/json":
        raise problem.UnsupportedMedia("The body must be JSON: Content-Type: application/json.")
    raw = request.get_data()
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise problem.BadRequest(f"The body is not JSON: {error}.") from error
    try:
        return model.model_validate(document, strict=True)
    except ValidationError as error:
        raise problem.from_validation(error, "body") from error


def query(model: type[Model]) -> Model:
    """The query string of the request as ``model``; 422 when a parameter is unknown, repeated or not allowed."""
    if repeated := [name for name, values in request.args.lists() if len(values) > 1]:
        raise problem.Invalid(f"query: {repeated[0]} is given more than once")
    try:
        return model.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise problem.from_validation(error, "query") from error


def no_query() -> None:
    """Refuse any query parameter, where the resource has none; 422."""
    if request.args:
        raise problem.Invalid(f"query: {next(iter(request.args))}: this resource takes no query parameters")

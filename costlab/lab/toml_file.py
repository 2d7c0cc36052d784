"""Reads a TOML file into a closed pydantic model; every error is one line: file, line, what is allowed.

experiment = read(Path("experiments/11-caching/experiment.toml"), Experiment)
# experiment.toml:14: primary.direction is 'down'; allowed: 'lower' or 'higher'
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import date, time
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from costlab.lab.errors import LabError


class Closed(BaseModel):
    """A model that knows all its keys: a misspelt one is an error, not a setting without effect."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=Closed)
# What may stand at a place of the file, in words; None where only the model knows.
Allowed = Callable[[tuple[str, ...]], str | None]
_LONGEST = 200
_TYPES = {str: "text", int: "a number", float: "a number", bool: "true or false"}


def _nobody_knows_better(where: tuple[str, ...]) -> None:
    return None


def read(path: Path, model: type[Model], allowed: Allowed = _nobody_knows_better) -> Model:
    """The file at ``path`` as ``model``; LabError when it is missing, not TOML or not what the model allows.

    ``allowed`` is asked where the model allows several types: it may know of a flag that it is a number from 0.1 on.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{path}: cannot be read: {error}") from error
    try:
        return model.model_validate(_parsed(path, text))
    except ValidationError as error:
        raise LabError(_first(path, text, error, model, allowed)) from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise LabError(f"{path}: not TOML that can be read: nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError is one; so is an integer of thousands of digits
        raise LabError(f"{path}: not TOML: {_short(str(error))}") from error


def _first(path: Path, text: str, error: ValidationError, model: type[Closed], allowed: Allowed) -> str:
    """The first error, and how many more values are wrong."""
    errors = error.errors(include_url=False)
    places = {_place(one, model)[0] for one in errors}
    rest = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    worst = telling(errors)
    where, _ = _place(worst, model)
    return f"{path}:{line_of(text, where)}: {describe(worst, model, allowed)}{rest}"


def telling(errors: list[ErrorDetails]) -> ErrorDetails:
    """The error to tell of: a misspelt key explains why another one is missing."""
    return next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])


def describe(error: ErrorDetails, model: type[BaseModel], allowed: Allowed = _nobody_knows_better) -> str:
    """An error of pydantic in the words of whoever wrote the file."""
    parts, types = _place(error, model)
    name = _short(".".join(parts)) or "the file"
    if types:
        return f"{name} is {_written(error['input'])}; allowed: {allowed(parts) or _named(types)}"
    match error["type"]:
        case "extra_forbidden":
            keys = _allowed_keys(model, parts[:-1])
            return f"unknown key {name}" + (f"; allowed: {', '.join(keys)}" if keys else "")
        case "missing":
            return f"{name} is missing"
        case "literal_error":
            return f"{name} is {_written(error['input'])}; allowed: {error['ctx']['expected']}"
        case "value_error":
            return f"{name}: {error['ctx']['error']}"
        case _:
            return f"{name} is {_written(error['input'])}: {error['msg'].lower()}"


def _place(error: ErrorDetails, model: type[BaseModel]) -> tuple[tuple[str, ...], list[Any]]:
    """Where in the file the error is, and the types allowed there if they are several.

    pydantic has an error for each of them, at a.b.str and a.b.int, where the file has nothing but a.b.
    """
    kind: Any = model
    parts = tuple(str(part) for part in error["loc"])
    for depth, part in enumerate(parts):
        types = _types(kind)
        if len(types) > 1:
            return parts[:depth], types
        kind = _inside(kind, part)
    return parts, []


def _types(kind: Any) -> list[Any]:
    """The types that ``kind`` stands for: several for ``str | float``, one for ``float | None``."""
    if get_origin(kind) is Annotated:
        return _types(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [own for one in get_args(kind) if one is not NoneType for own in _types(one)]
    return [kind]


def _named(types: list[Any]) -> str:
    return " or ".join(dict.fromkeys(_TYPES.get(one, str(one)) for one in types))


def _written(value: object) -> str:
    """A value as a file has it: true, not True."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value) if isinstance(value, date | time) else _short(repr(value))


def _short(text: str) -> str:
    """A line that stays one: what was written may be a whole table."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _allowed_keys(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """The keys of the table at ``path``; none where the keys themselves are data."""
    kind: Any = model
    for part in path:
        kind = _inside(kind, part)
    [kind, *_] = _types(kind)
    return list(kind.model_fields) if _is_model(kind) else []


def _inside(kind: Any, part: str) -> Any:
    """The type of what stands under ``part`` of a table or list of type ``kind``; None where nobody knows."""
    [kind, *_] = _types(kind)
    if _is_model(kind):
        field = kind.model_fields.get(part)
        return field.annotation if field else None
    return get_args(kind)[-1] if get_origin(kind) in (dict, list) else None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


_HEADER = re.compile(r"^\s*\[\[?\s*([^\]]+?)\s*\]\]?")
_KEY = re.compile(r"^\s*((?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([\w-]+)")


def line_of(text: str, path: tuple[str, ...]) -> int:
    """The line on which the value at ``path`` is written, or that of the nearest table around it."""
    table: tuple[str, ...] = ()
    best, best_length = 1, 0
    arrays: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            name = _parts(header[1])
            if line.lstrip().startswith("[["):
                arrays[name] = arrays.get(name, -1) + 1
            table = here = _numbered(name, arrays)
        elif key := _KEY.match(line):
            here = table + _parts(key[1])
        else:
            continue
        if path[: len(here)] == here and len(here) > best_length:
            best, best_length = number, len(here)
    return best


def _numbered(name: tuple[str, ...], arrays: Mapping[tuple[str, ...], int]) -> tuple[str, ...]:
    """The table ``name`` with the place of each array of tables it lies in: ("faults", "1", "parameters")."""
    numbered: list[str] = []
    for end, part in enumerate(name, start=1):
        numbered.append(part)
        if name[:end] in arrays:
            numbered.append(str(arrays[name[:end]]))
    return tuple(numbered)


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(next(part for part in parts if part) for parts in _PART.findall(dotted))

"""Variables in docker-compose.yml, filled in as Compose does it.

    ${NAME}              the variable, or nothing        ${NAME:-text}   text when unset or empty
    ${NAME-text}         text when unset                 ${NAME:?text}   refused when unset or empty
    ${NAME?text}         refused when unset              $$              one dollar sign

Source: https://docs.docker.com/reference/compose-file/interpolation/
"""

import re
from collections.abc import Mapping
from typing import Any

from costlab.stack import StackError

_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_]\w*)"
    r"|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-?])(?P<text>[^${}]*))?\}|(?P<wrong>.?))"
)


def interpolate(document: Any, environment: Mapping[str, str]) -> Any:
    """``document`` (as YAML gave it) with the variables in all its strings filled in."""
    if isinstance(document, str):
        return _VARIABLE.sub(lambda found: _value(found, document, environment), document)
    if isinstance(document, list):
        return [interpolate(item, environment) for item in document]
    if isinstance(document, dict):
        return {key: interpolate(item, environment) for key, item in document.items()}
    return document


def _value(found: re.Match[str], whole: str, environment: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    name = found["plain"] or found["name"]
    if name is None:
        raise StackError(f"{whole!r} has a $ that starts no variable; $$ writes a dollar sign")
    value, how = environment.get(name), found["how"] or ""
    if value or (value is not None and not how.startswith(":")):
        return value
    if how.endswith("?"):
        raise StackError(f"{name} must be set: {found['text'] or 'docker-compose.yml asks for it'}")
    return found["text"] or ""

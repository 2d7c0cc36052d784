"""Reads a traffic file and expands it into requests.

A traffic file (loadtests/traffic/*.json) names weighted requests and the distributions of the keys in them. From
the file, a seed and a run id follows every request: the i-th is the same in every process, in every variant of a
round and in the JavaScript twin (loadtests/lib/traffic.js) that k6 runs. A key is drawn once per request, in the
order in which the file names the keys, so `{user}` in path and body is the same user. Besides the keys there are
`{run}` (unique per run: a repeated seed must not repeat an Idempotency-Key) and `{index}` (the request's number).
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from costlab.lab.load.mulberry32 import Mulberry32
from costlab.lab.load.spec import Arrivals, LoadError
from costlab.lab.load.zipf import Zipf
from costlab.lab.toml_file import Closed

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_BUILT_IN = {"run", "index"}
_KEY_NAME = Annotated[str, Field(pattern=r"^[a-z_]+$")]
_POISSON_STREAM = 0xA221  # any number that keeps arrival times apart from the draws of the requests


@dataclass(frozen=True)
class Request:
    """One request, ready to send; `body` is JSON text or None."""

    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: str | None


class _Range(Closed):
    low: int = Field(alias="from", ge=0)
    high: int = Field(alias="to", ge=0)

    @model_validator(mode="after")
    def _not_empty(self) -> "_Range":
        if self.high < self.low:
            raise ValueError(f"to ({self.high}) is below from ({self.low})")
        return self


class _UniformKey(_Range):
    distribution: Literal["uniform"]


class _ZipfKey(_Range):
    distribution: Literal["zipf"]
    s: float = Field(gt=0, le=4)

    @model_validator(mode="after")
    def _one_to_one(self) -> "_ZipfKey":
        if not Zipf.accepts(self.low, self.high):
            raise ValueError("the size of a zipf range must not be a multiple of 7919; widen it by one")
        return self


class _Template(Closed):
    weight: int = Field(ge=1, le=1_000_000)
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str = Field(pattern=r"^/api/[!-~]*$")
    headers: dict[str, Annotated[str, Field(pattern=r"^[ -~]*$")]] = Field(default_factory=dict)
    body: Any = None

    @model_validator(mode="after")
    def _same_text_in_both_languages(self) -> "_Template":
        if _holds_float(self.body):
            raise ValueError("body: numbers must be integers (languages write fractions differently)")
        return self

    def placeholders(self) -> set[str]:
        return set(_PLACEHOLDER.findall(json.dumps([self.path, self.headers, self.body])))


class _File(Closed):
    description: str = Field(min_length=1)
    keys: dict[_KEY_NAME, Annotated[_UniformKey | _ZipfKey, Field(discriminator="distribution")]]
    requests: dict[_KEY_NAME, _Template] = Field(min_length=1)


class Traffic:
    """The requests of one traffic file under one seed and run id."""

    def __init__(self, file: _File, seed: int, run: str) -> None:
        self.names = list(file.requests)
        self._seed = seed
        self._run = run
        self._templates = list(file.requests.values())
        self._weight = sum(template.weight for template in self._templates)
        self._keys = {name: _draw_from(key) for name, key in file.keys.items()}
        self._used = [[name for name in self._keys if name in t.placeholders()] for t in self._templates]

    def request(self, index: int) -> Request:
        """The request number `index`, counted from 0 at the start of the settle stretch."""
        numbers = Mulberry32.for_request(self._seed, index)
        choice = self._choose(numbers.next())
        template = self._templates[choice]
        values: dict[str, int | str] = {"run": self._run, "index": index}
        for name in self._used[choice]:
            values[name] = self._keys[name](numbers.next())
        headers = {key: _fill_text(value, values) for key, value in template.headers.items()}
        body = None
        if template.body is not None:
            body = json.dumps(_fill(template.body, values), separators=(",", ":"), ensure_ascii=False)
            headers["Content-Type"] = "application/json"
        return Request(self.names[choice], template.method, _fill_text(template.path, values), headers, body)

    def _choose(self, u: float) -> int:
        left = int(u * self._weight)
        for choice, template in enumerate(self._templates):
            if left < template.weight:
                return choice
            left -= template.weight
        raise AssertionError("u must be in [0, 1)")


def load_traffic(path: Path, seed: int, run: str) -> Traffic:
    """Read and check a traffic file; LoadError names the file and the key that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # not text, or no name of a file
        raise LoadError(f"{path}: cannot read this traffic file: {getattr(error, 'strerror', error)}") from error
    try:
        file = _File.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise LoadError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except ValidationError as error:
        raise LoadError(f"{path}: {_first_problem(error)}") from error
    except (RecursionError, ValueError) as error:  # nested too deeply, or an integer of thousands of digits
        raise LoadError(f"{path}: not JSON that can be read: {str(error)[:100]}") from error
    for name, template in file.requests.items():
        for unknown in sorted(template.placeholders() - set(file.keys) - _BUILT_IN):
            known = ", ".join(sorted({*file.keys, *_BUILT_IN}))
            raise LoadError(f"{path}: requests.{name}: no key named {{{unknown}}}; there are {known}")
    return Traffic(file, seed, run)


def planned_count(rate: float, seconds: float) -> int:
    """How many requests a stretch holds: with uniform arrivals, those planned at 0, 1/rate, ... before its end."""
    return math.ceil(rate * seconds - 1e-9)


def planned_times(rate: float, seconds: float, arrivals: Arrivals, seed: int) -> list[float]:
    """Send times, in seconds from the start, of a stretch of load; fixed by the arguments.

    uniform: 0, 1/rate, 2/rate, ...: what k6's constant-arrival-rate does. poisson: as many times, independently and
    evenly strewn over the stretch and sorted, which is a Poisson process given its count, so that the rate is exact.
    """
    count = planned_count(rate, seconds)
    if arrivals == "uniform":
        return [i / rate for i in range(count)]
    numbers = Mulberry32.for_request(seed, _POISSON_STREAM)
    return sorted(numbers.next() * seconds for _ in range(count))


def _draw_from(key: _UniformKey | _ZipfKey) -> Callable[[float], int]:
    if isinstance(key, _ZipfKey):
        return Zipf(key.s, key.low, key.high).draw
    return lambda u: key.low + int(u * (key.high - key.low + 1))


def _fill(template: Any, values: dict[str, int | str]) -> Any:
    """A string that is one placeholder and nothing else becomes the number itself; within text it becomes digits."""
    if isinstance(template, list):
        return [_fill(item, values) for item in template]
    if isinstance(template, dict):
        return {key: _fill(item, values) for key, item in template.items()}
    if not isinstance(template, str):
        return template
    alone = _PLACEHOLDER.fullmatch(template)
    return values[alone[1]] if alone else _fill_text(template, values)


def _fill_text(template: str, values: dict[str, int | str]) -> str:
    return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), template)


def _holds_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_float(item) for item in value.values())
    if isinstance(value, list):
        return any(_holds_float(item) for item in value)
    return isinstance(value, float)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"] if part not in ("uniform", "zipf")) or "the whole file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {problem['msg']}{more}"

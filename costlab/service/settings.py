"""Settings of a service: from the environment, validated once at start, never guessed.

A wrong one stops the process with one line that names the variable and says what it accepts.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, UrlConstraints, ValidationError
from pydantic_core import Url
from pydantic_settings import BaseSettings, SettingsConfigDict

# gunicorn's own code for "the application cannot be loaded": the arbiter stops instead of trying again for ever.
EXIT_CANNOT_LOAD = 4

PREFIX = "COSTLAB_"


def _bind(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("host:port with a port from 1 to 65535")
    return value


def _plain(value: Url) -> str:
    return str(value).rstrip("/")


Bind = Annotated[str, AfterValidator(_bind)]
HttpUrl = Annotated[Url, UrlConstraints(allowed_schemes=["http"], host_required=True), AfterValidator(_plain)]
_ONE_URL = TypeAdapter(HttpUrl)


def _each(value: str) -> str:
    try:
        return ",".join(_ONE_URL.validate_python(url.strip()) for url in value.split(","))
    except ValidationError as error:
        raise ValueError(f"{error.errors(include_input=False)[0]['msg']} (one URL, or several with commas)") from error


# Where the instances of a service answer.
HttpUrls = Annotated[str, AfterValidator(_each)]
PostgresUrl = Annotated[Url, UrlConstraints(allowed_schemes=["postgresql"], host_required=True), AfterValidator(_plain)]
RedisUrl = Annotated[
    Url, UrlConstraints(allowed_schemes=["redis", "unix"], host_required=False), AfterValidator(_plain)
]


class ServerSettings(BaseSettings):
    """How a service process is served; gunicorn reads these before the service is loaded."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    bind: Bind = Field("127.0.0.1:8000", description="where public requests come in")
    internal_bind: Bind = Field("127.0.0.1:9000", description="where metrics and flags answer; never public")
    processes: int = Field(1, ge=1, le=64, description="worker processes of gunicorn")
    threads: int = Field(8, ge=1, le=256, description="threads of each worker process")
    preload: Literal["off", "on"] = Field("off", description="load the service before the worker processes are forked")
    gc_freeze: Literal["off", "on"] = Field("off", description="keep the garbage collector off what was loaded by then")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level logged")

    def internal_port(self) -> int:
        """The port number of the internal socket."""
        return int(self.internal_bind.rpartition(":")[2])


class ServiceSettings(ServerSettings):
    """What every service is told. A service adds its own fields in a subclass."""

    redis_url: RedisUrl = Field(description="Redis that holds flags, cache and job stream")
    token_file: Path | None = Field(None, description="file with the control token; without it nothing can be set")
    otlp_endpoint: HttpUrl | None = Field(
        None, description="OTLP/HTTP collector; without it spans are only kept for costlab trace"
    )


Settings = TypeVar("Settings", bound=ServerSettings)


def load(kind: type[Settings], service: str) -> Settings:
    """The settings of ``service`` from the environment, or one line on stderr and exit 4."""
    try:
        return kind()
    except ValidationError as error:
        stop(service, error)


def stop(service: str, error: ValidationError) -> NoReturn:
    """Say which variables are wrong and leave, so that gunicorn does not start the worker again."""
    lines = [f"{PREFIX}{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors(include_input=False)]
    print(f"{service}: cannot start: {'; '.join(lines)}", file=sys.stderr, flush=True)  # noqa: T201 - no log yet
    raise SystemExit(EXIT_CANNOT_LOAD)

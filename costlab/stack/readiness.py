"""Is a service ready to be used? Each is asked in its own language, and never for longer than a second."""

import json
import socket
import urllib.error
import urllib.request
from http.client import HTTPException

import psycopg2

from costlab.stack import StackError, seeing, wire
from costlab.stack.topology import INTERNAL, Service

_SECONDS = 1.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def is_ready(service: Service) -> bool:
    """Whether ``service`` (as translated for loopback) does its work now."""
    if service.name == "postgres":
        return _postgres(service)
    if service.name == "redis":
        return _redis(service.port(6379))
    if service.name == wire.TOXIPROXY:
        return _toxiproxy(service)
    port, path = seeing.DOORS[service.name].ready if service.name in seeing.DOORS else (INTERNAL, "/readyz")
    return _http(service.port(port), path)


def _postgres(service: Service) -> bool:
    database = service.environment.get("POSTGRES_DB", "postgres")
    password = service.environment["POSTGRES_PASSWORD"]
    try:
        psycopg2.connect(
            host="127.0.0.1", port=service.port(5432), user="postgres", password=password, dbname=database,
            connect_timeout=1, application_name="costlab readiness",
        ).close()  # fmt: skip
    except psycopg2.OperationalError as error:
        if "password authentication failed" in str(error):
            raise StackError(
                "the PostgreSQL data was made with another COSTLAB_DB_PASSWORD: start with that one, or drop the data "
                "(costlab down --volumes)"
            ) from error
        return False
    return True


def _redis(port: int) -> bool:
    """PING; while it loads its file it answers -LOADING."""
    try:
        with socket.create_connection(("127.0.0.1", port), _SECONDS) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _toxiproxy(service: Service) -> bool:
    """It answers and has a proxy for every edge: one that found its port taken says so in its log only."""
    try:
        with _DIRECT.open(f"http://127.0.0.1:{service.port(wire.API)}/proxies", timeout=_SECONDS) as answer:
            return len(json.load(answer)) == len(wire.edges())
    except (OSError, HTTPException, ValueError):
        return False


def _http(port: int, path: str) -> bool:
    try:
        with _DIRECT.open(f"http://127.0.0.1:{port}{path}", timeout=_SECONDS) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except (OSError, HTTPException):
        return False

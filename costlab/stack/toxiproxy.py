"""Toxiproxy's own interface: proxies, each between one caller and what it calls, and the toxics in them.

    POST   /proxies/orders.postgres/toxics {"name": ..., "type": "latency", "attributes": {"latency": 50}}
    DELETE /proxies/orders.postgres/toxics/<name>

What it is told it forgets when it is started again; its proxies stand in a file that it reads at every start.
Source: https://github.com/Shopify/toxiproxy#http-api (2.12)
"""

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from costlab.stack import StackError

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# It takes a toxic out of a connection only once what the toxic holds back has gone out.
_ANSWER_SECONDS = 30.0
# Whoever only looks does not wait for one that is paused.
_LOOK_SECONDS = 3.0


class NotThere(StackError):
    """Nobody listens where toxiproxy should; its toxics, if it had any, are gone."""


class Toxiproxy:
    """The toxiproxy whose interface is at ``url``."""

    def __init__(self, url: str) -> None:
        self._url = url

    def proxies(self) -> dict[str, dict[str, Any]]:
        """Name to ``{"enabled": true, "toxics": [{"name": ...}, ...], ...}``."""
        return self._call("GET", "/proxies")

    def add(self, proxy: str, toxic: dict[str, object]) -> None:
        """In force, in open connections too, when this returns."""
        self._call("POST", f"/proxies/{proxy}/toxics", toxic)

    def removal(self, proxy: str, toxic: str) -> dict[str, Any]:
        """How the toxic is ended, in the words of fault_keeper.py."""
        return {"call": ["DELETE", f"{self._url}/proxies/{proxy}/toxics/{toxic}", None]}

    def disable(self, proxy: str) -> None:
        """Open connections are closed and new ones refused."""
        self._call("PATCH", f"/proxies/{proxy}", {"enabled": False})

    def enabling(self, proxy: str) -> dict[str, Any]:
        """How ``disable`` is ended, in the words of fault_keeper.py."""
        return {"call": ["PATCH", f"{self._url}/proxies/{proxy}", {"enabled": True}]}

    def reset(self) -> None:
        """No toxic anywhere, and every proxy enabled."""
        self._call("POST", "/reset")

    def _call(self, method: str, path: str, document: object = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self._url + path, body, method=method)  # noqa: S310 - loopback
        try:
            with _DIRECT.open(request, timeout=_LOOK_SECONDS if method == "GET" else _ANSWER_SECONDS) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise StackError(f"toxiproxy: {method} {path}: {_reason(error)}") from error
        except (OSError, HTTPException) as error:
            if isinstance(getattr(error, "reason", error), ConnectionRefusedError):
                raise NotThere(f"no toxiproxy answers at {self._url}: is the stack up? (costlab status)") from error
            raise StackError(f"toxiproxy at {self._url} does not answer: {error}") from error


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return json.load(error)["error"]
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}"

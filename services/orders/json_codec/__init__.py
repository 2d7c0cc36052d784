"""How answers become JSON (flag ``orders.json``), one file per codec; each writes the same document.

Documents are plain: dicts with text keys, lists, text, numbers, null. Times are text before they get here, because the
codecs write them differently. A codec is imported when it is first asked for.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from flask import Flask, Response
from flask.json.provider import JSONProvider

from costlab.service import metrics
from costlab.service.flags import Flags

Encode = Callable[[Any], bytes]


class JsonCodec(JSONProvider):
    """The JSON of a Flask app, written by the codec the flag names at the time."""

    def __init__(self, app: Flask, flags: Flags) -> None:
        super().__init__(app)
        self._flags = flags
        self._encoders: dict[str, Encode] = {}
        self._written = metrics.Children(metrics.JSON_WRITTEN)
        self._reads = app.json

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """An answer with the document as its body; Flask calls this for views that return one."""
        codec = self._flags["orders.json"]
        body = self._encoder(codec)(self._prepare_response_obj(args, kwargs))
        self._written[codec,].inc()
        return self._app.response_class(body, mimetype="application/json")

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """The document as text."""
        return self._encoder(self._flags["orders.json"])(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """The document of ``s``; input is read as in every other service."""
        return self._reads.loads(s, **kwargs)

    def _encoder(self, codec: str) -> Encode:
        encoder = self._encoders.get(codec)
        if encoder is None:
            encoder = self._encoders[codec] = import_module(f"{__name__}.{codec}").encode
        return encoder

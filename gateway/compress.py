"""Compression: answers leave the gateway smaller, in a coding that the client says it can read.

Example: a page of 20 orders, 4,995 bytes of JSON, leaves as 788 bytes by gzip, for 68 µs of CPU, or as 808 by zstd,
for 10 µs. To ``Accept-Encoding: zstd, gzip;q=0.5`` it goes in the coding the flag names; to a client that does not
accept that one it goes plain.

Trade-off: CPU of the gateway for bytes on the wire, which clouds bill by the gigabyte. An answer of less than
SMALLEST bytes fits in a packet anyway and is left alone, and so is what does not shrink. A secret in an answer beside
text that an attacker chooses can be guessed from the compressed length (BREACH); answers here hold none.

Use instead: a smaller representation (fewer fields), which also costs the service less; compression at a CDN, which
does it once for many.

Units: bytes; CPU in seconds of the thread. gzip at level 6, zstd at level 3, the defaults of their libraries. Source:
RFC 9110, 12.5.3 (negotiation), 8.8.1 (a compressed answer is another representation, equal in meaning: a weak ETag)
and 8.6 (HEAD has the length of the GET or none); RFC 8878 (zstd).
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from gzip import compress as gzip

from zstandard import ZstdCompressor

from costlab.service import metrics
from gateway.headers import Headers

SMALLEST = 1024
GZIP_LEVEL = 6
ZSTD_LEVEL = 3

_TEXTUAL = frozenset({"application/json", "application/xml", "application/javascript", "image/svg+xml"})
_UNTOUCHED = frozenset({"content-encoding", "content-range"})
_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
_bytes = metrics.Children(metrics.COMPRESS_BYTES)
_cpu = metrics.Children(metrics.COMPRESS_CPU_SECONDS)


def compressed(coding: str, accept: str, headers: Headers, body: bytes) -> tuple[Headers, bytes]:
    """The answer in ``coding`` for a client that sent ``Accept-Encoding: accept``, or as it is when the client cannot
    read it, or when it is not worth it."""
    if len(body) < SMALLEST or not _compressible(headers):
        return headers, body
    headers = _varying(headers)
    if not accepts(accept, coding):
        return headers, body
    started = time.thread_time()
    smaller = _CODINGS[coding](body)
    _cpu[coding,].inc(time.thread_time() - started)
    if len(smaller) >= len(body):
        return headers, body
    _bytes[coding, "before"].inc(len(body))
    _bytes[coding, "after"].inc(len(smaller))
    return [*_described(headers, len(smaller)), ("Content-Encoding", coding)], smaller


def without_body(coding: str, accept: str, headers: Headers) -> Headers:
    """The headers of an answer to HEAD, where those of the same GET depend on the coding.

    How long the compressed body would be, and whether it would shrink at all, is known only once there is one: neither
    a length nor a Content-Encoding is promised then (RFC 9110, 8.6 and 9.3.2).
    """
    if _declared(headers) < SMALLEST or not _compressible(headers):
        return headers
    headers = _varying(headers)
    return _described(headers, None) if accepts(accept, coding) else headers


@lru_cache(maxsize=256)
def accepts(accept: str, coding: str) -> bool:
    """Whether an Accept-Encoding header lets ``coding`` be sent, and does not prefer plain bytes to it."""
    weights = dict(_weights(accept))
    wanted = weights.get(coding, weights.get("*", 0.0))
    return wanted > 0 and wanted >= weights.get("identity", 0.0)


def _weights(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        name, _, parameter = (piece.strip() for piece in part.partition(";"))
        key, _, weight = (piece.strip() for piece in parameter.partition("="))
        known = not parameter or (key == "q" and _WEIGHT.fullmatch(weight) is not None)
        # A weight that cannot be read is no permission.
        yield name.removeprefix("x-"), (float(weight) if parameter else 1.0) if known else 0.0


def _declared(headers: Headers) -> int:
    """The bytes that Content-Length announces; 0 when it does not."""
    length = next((value for name, value in headers if name.lower() == "content-length"), "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _compressible(headers: Headers) -> bool:
    textual = False
    for name, value in headers:
        lower = name.lower()
        if lower in _UNTOUCHED or (lower == "cache-control" and "no-transform" in value.lower()):
            return False
        if lower == "content-type":
            media = value.partition(";")[0].strip().lower()
            textual = media in _TEXTUAL or media.startswith("text/") or media.endswith(("+json", "+xml"))
    return textual


def _varying(headers: Headers) -> Headers:
    """``headers`` that tell caches to keep an answer for each Accept-Encoding apart."""
    fields = {field.strip().lower() for name, value in headers if name.lower() == "vary" for field in value.split(",")}
    return headers if fields & {"*", "accept-encoding"} else [*headers, ("Vary", "Accept-Encoding")]


def _described(headers: Headers, length: int | None) -> Headers:
    """``headers`` of the same answer in ``length`` other bytes; None: as many as nobody knows."""
    written = []
    for name, value in headers:
        lower = name.lower()
        if lower == "content-length":
            if length is None:
                continue
            value = str(length)
        elif lower == "etag" and not value.startswith("W/"):
            value = f"W/{value}"
        # A compressed answer cannot be continued from the middle of the plain one.
        if lower != "accept-ranges":
            written.append((name, value))
    return written


class _Zstd(threading.local):
    """A compressor of each thread's own: making one costs more than compressing a page, and none may be shared."""

    def __init__(self) -> None:
        self._compressor = ZstdCompressor(level=ZSTD_LEVEL)

    def __call__(self, body: bytes) -> bytes:
        return self._compressor.compress(body)


_CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": partial(gzip, compresslevel=GZIP_LEVEL, mtime=0),
    "zstd": _Zstd(),
}

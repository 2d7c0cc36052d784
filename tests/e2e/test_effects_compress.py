"""Compression on the running stack: what a client gets depends on the flag and on what it says it can read."""

import gzip

import pytest
import zstandard

from tests.e2e.test_effects import total

pytestmark = pytest.mark.usefixtures("control")

PAGE = "/api/users?ids=" + ",".join(str(user) for user in range(1, 51))


def ask(client, accept: str, path: str = PAGE):
    return client.get(path, **{"Accept-Encoding": accept})


@pytest.mark.parametrize(("coding", "decode"), [("gzip", gzip.decompress), ("zstd", zstandard.decompress)])
def test_gateway_compress_sends_the_same_page_in_fewer_bytes(control, client, coding, decode):
    """ "gateway.compress": coded while it is on, for who accepts it; the metrics say how much it saved."""

    def counted(side: str) -> float:
        return total(control, "gateway", "costlab_compress_bytes_total", coding=coding, side=side)

    plain = ask(client, coding)
    assert (plain.headers["Content-Encoding"], plain.headers["Vary"]) == (None, None)
    control.set_flags({"gateway.compress": coding})
    before, after = counted("before"), counted("after")
    reply = ask(client, coding)
    assert (reply.status, reply.headers["Content-Encoding"]) == (200, coding)
    assert int(reply.headers["Content-Length"]) == len(reply.body) < len(plain.body) / 2
    assert reply.headers["Vary"] == "Accept-Encoding"
    assert decode(reply.body) == plain.body
    assert (counted("before"), counted("after")) == (before + len(plain.body), after + len(reply.body))
    assert total(control, "gateway", "costlab_compress_cpu_seconds_total", coding=coding) > 0
    refused = ask(client, f"{coding};q=0, *")
    assert (refused.headers["Content-Encoding"], refused.headers["Vary"]) == (None, "Accept-Encoding")
    assert refused.body == plain.body
    assert ask(client, coding, "/api/users/1").headers["Content-Encoding"] is None
    control.set_flags({"gateway.compress": None})
    assert ask(client, coding).headers["Content-Encoding"] is None

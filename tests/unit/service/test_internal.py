"""The internal port's changes: what is said when Redis does not confirm them."""

from contextlib import closing

import pytest
from flask import Flask

from costlab.service import internal, problem, redis_client
from costlab.service.flags import Registry
from tests.hung_server import HungServer


@pytest.fixture
def change(tmp_path, set_flags):
    """``change(url)``: the problem that setting a flag ends with when Redis is at ``url``."""
    token = tmp_path / "token"
    token.write_text("secret")

    def patch(url: str) -> problem.Problem:
        app = Flask("internal")
        app.testing = True
        sent = {"json": {"cache.ttl": 5}, "headers": {"Authorization": "Bearer secret"}}
        with redis_client.connect(url, 0.05) as redis:
            app.register_blueprint(internal.blueprint(Registry.load(), set_flags(), redis, token))
            with pytest.raises(problem.Unavailable) as refused:
                app.test_client().patch("/flags", **sent)
        return refused.value

    return patch


def test_when_redis_hangs_nobody_knows_whether_the_flag_was_set(change):
    with closing(HungServer()) as hung:
        assert "whether it was set is not known" in str(change(hung.url))


def test_when_redis_refuses_nothing_was_set(change):
    hung = HungServer()
    hung.close()
    assert "nothing was set" in str(change(hung.url))

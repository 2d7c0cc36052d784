"""users, running on the prepared database."""

import pytest

from services.users.app import create_app
from tests.services.conftest import running


@pytest.fixture(scope="module")
def app(database, redis_url):
    with running(create_app, {"DATABASE_URL": database.url("users"), "REDIS_URL": redis_url}) as service:
        yield service


@pytest.fixture
def client(app):
    return app.test_client()

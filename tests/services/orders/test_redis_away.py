"""Redis away: orders are accepted all the same, and published when it is back."""

from redis import Redis

from services.orders.app import create_app
from services.orders.publishing.message import STREAM
from tests.conditions import eventually
from tests.services.conftest import running, served
from tests.services.orders.conftest import StandIn

BODY = {"user_id": 1, "lines": [{"product_id": 5, "quantity": 1}]}


def test_an_order_placed_while_redis_is_away_is_accepted_and_published_later(database, mortal_redis):
    environment = {"DATABASE_URL": database.url("orders"), "REDIS_URL": mortal_redis.url}
    with served(StandIn().app()) as users:
        environment |= {"USERS_URL": users, "CACHE_PROXY_URL": users}
        with running(create_app, environment) as app, Redis.from_url(mortal_redis.url) as redis:
            client = app.test_client()
            eventually(lambda: client.get("/readyz").status_code == 200, within=30)
            mortal_redis.kill()
            reply = client.post("/orders", json=BODY)
            assert reply.status_code == 201
            assert client.get(reply.headers["Location"]).json == reply.json
            mortal_redis.start()
            key = f"order:{reply.json['id']}".encode()
            eventually(lambda: key in [fields[b"key"] for _, fields in redis.xrange(STREAM)], within=15)

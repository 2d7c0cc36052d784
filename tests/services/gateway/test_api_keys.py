"""API keys: read once at start, kept hashed, shown to nobody."""

import pytest

from costlab.service.problem import Unauthorized
from costlab.service.settings import load
from gateway.api_keys import ANONYMOUS, ApiKeys
from gateway.settings import GatewaySettings

URLS = {
    "COSTLAB_REDIS_URL": "redis://localhost",
    "COSTLAB_USERS_URL": "http://users",
    "COSTLAB_ORDERS_URL": "http://orders",
    "COSTLAB_CACHE_PROXY_URL": "http://cache",
}


@pytest.fixture
def environment(monkeypatch):
    for name, value in URLS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_each_key_is_its_clients():
    keys = ApiKeys.parse("demo:demo, shop:s3cret!")
    assert keys.client("demo") == "demo"
    assert keys.client("s3cret!") == "shop"


def test_no_key_is_the_anonymous_client_and_a_wrong_one_nobody():
    keys = ApiKeys.parse("demo:demo")
    assert keys.client("") == ANONYMOUS
    with pytest.raises(Unauthorized):
        keys.client("DEMO")


def test_two_keys_may_name_one_client_while_one_is_replaced_by_the_other():
    keys = ApiKeys.parse("shop:old-key,shop:new-key")
    assert keys.client("old-key") == keys.client("new-key") == "shop"


@pytest.mark.parametrize(
    "text",
    ["", "demo", "demo:", ":demo", "demo:abc", "Demo:demo", "demo:demo,", "a b:demo", "demo:de mo", "demo:dé-mo"],
)
def test_what_is_no_list_of_pairs_is_refused_with_what_is_accepted(text):
    with pytest.raises(ValueError, match=r"pair \d is not accepted: name:key pairs separated by commas"):
        ApiKeys.parse(text)


def test_one_key_cannot_be_two_clients():
    with pytest.raises(ValueError, match="two clients have the same key"):
        ApiKeys.parse("one:same,two:same")


def test_nobody_can_be_called_anonymous():
    with pytest.raises(ValueError, match="anonymous is the client of requests without a key"):
        ApiKeys.parse("anonymous:key1")


def test_a_playground_has_demo_keys(environment):
    keys = ApiKeys.parse(load(GatewaySettings, "gateway").api_keys.get_secret_value())
    assert keys.client("demo") == "demo"


def test_a_wrong_setting_stops_the_gateway_with_one_line_that_shows_no_key(environment, capsys):
    environment.setenv("COSTLAB_API_KEYS", "demo:hunter2,shop;hunter3")
    with pytest.raises(SystemExit) as stopped:
        load(GatewaySettings, "gateway")
    said = capsys.readouterr().err
    assert stopped.value.code == 4
    assert said.startswith("gateway: cannot start: COSTLAB_API_KEYS: ")
    assert "pair 2 is not accepted" in said
    assert said.count("\n") == 1
    assert "hunter" not in said


def test_settings_can_be_logged_without_the_keys(environment):
    environment.setenv("COSTLAB_API_KEYS", "demo:hunter2")
    assert "hunter2" not in repr(load(GatewaySettings, "gateway"))

"""Settings of the gateway, beside those every service has."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from costlab.service.settings import HttpUrl, HttpUrls, ServiceSettings
from gateway.api_keys import ApiKeys


def _keys(value: SecretStr) -> SecretStr:
    ApiKeys.parse(value.get_secret_value())
    return value


class GatewaySettings(ServiceSettings):
    """Where requests go, and who may make them under a name of their own."""

    users_url: HttpUrls = Field(description="the users service")
    orders_url: HttpUrls = Field(description="the orders service")
    cache_proxy_url: HttpUrl = Field(description="the cache-proxy, used while gateway.reads is cache_proxy")
    # Two clients to play with: the gateway of a playground listens on loopback and guards generated data.
    api_keys: Annotated[SecretStr, AfterValidator(_keys)] = Field(
        SecretStr("demo:demo,batch:batch"), description="name:key pairs, separated by commas"
    )

"""Settings of the cache-proxy."""

from pydantic import Field

from costlab.service.settings import HttpUrl, ServiceSettings


class CacheProxySettings(ServiceSettings):
    """What the cache-proxy is told by the environment."""

    users_url: HttpUrl = Field(description="users, the origin of /users")
    orders_url: HttpUrl = Field(description="orders, the origin of /orders, /products and users' histories")

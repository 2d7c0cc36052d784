"""Settings of the cache-proxy."""

from pydantic import Field

from costlab.service.settings import HttpUrls, ServiceSettings


class CacheProxySettings(ServiceSettings):
    """What the cache-proxy is told by the environment."""

    users_url: HttpUrls = Field(description="users, the origin of /users")
    orders_url: HttpUrls = Field(description="orders, the origin of /orders, /products and users' histories")

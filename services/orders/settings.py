"""Settings of orders."""

from urllib.parse import urlsplit

from pydantic import Field

from costlab.service.settings import HttpUrl, HttpUrls, PostgresUrl, ServiceSettings

RELAY_ROLE = "orders_relay"


class OrdersSettings(ServiceSettings):
    """What orders is told by the environment."""

    database_url: PostgresUrl = Field(description="PostgreSQL as role orders")
    users_url: HttpUrls = Field(description="users, asked whether a user exists")
    cache_proxy_url: HttpUrl = Field(description="cache-proxy, asked instead when flag orders.user_lookup says so")

    def relay_url(self) -> str:
        """The same database and password for the relay's own role, which may touch nothing but the outbox."""
        parts = urlsplit(self.database_url)
        credentials, _, host = parts.netloc.rpartition("@")
        _, colon, password = credentials.partition(":")
        return parts._replace(netloc=f"{RELAY_ROLE}{colon}{password}@{host}").geturl()

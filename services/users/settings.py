"""Settings of users."""

from pydantic import Field

from costlab.service.settings import PostgresUrl, ServiceSettings


class UsersSettings(ServiceSettings):
    """What users is told by the environment."""

    database_url: PostgresUrl = Field(description="PostgreSQL as role users")

"""What users accepts and answers."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

MAX_ID = 2**63 - 1
MAX_BATCH = 100
# Neither PostgreSQL nor a reader has a use for control characters in a line of text; the first cannot store \0.
_NO_CONTROL = r"^[^\x00-\x1f\x7f]+$"
_ADDRESS = r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\.[^@\s\x00-\x1f\x7f]+$"


def _split(ids: object) -> object:
    return ids.split(",") if isinstance(ids, str) else ids


UserId = Annotated[int, Field(ge=1, le=MAX_ID)]
UserIds = Annotated[list[UserId], BeforeValidator(_split), Field(min_length=1, max_length=MAX_BATCH)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_NO_CONTROL)]
Email = Annotated[str, StringConstraints(min_length=3, max_length=254, pattern=_ADDRESS)]


class User(BaseModel):
    """A user."""

    id: int
    name: str
    email: str
    tier: str
    created_at: datetime


class Users(BaseModel):
    """The users that exist, in the order they were asked for; ids nobody has are left out."""

    users: list[User]


class UserBatch(BaseModel):
    """The query of a batch."""

    model_config = ConfigDict(extra="forbid")

    ids: UserIds = Field(description="1 to 100 ids, separated by commas")


class NewUser(BaseModel):
    """What a user is made of."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    email: Email

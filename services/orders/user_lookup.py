"""Does a user exist? Asked over HTTP: of users itself, or through the cache-proxy (flag ``orders.user_lookup``)."""

from costlab.service.flags import Flags
from costlab.service.http_client import HttpClient, UpstreamError, UpstreamRefused, UpstreamTimeout
from costlab.service.problem import BadGateway, GatewayTimeout, Invalid, Problem, Unavailable

_RETRY = {"Retry-After": "1"}


class UserLookup:
    """Asks ``direct`` (users) or ``cached`` (cache-proxy), as the flag says at the time."""

    def __init__(self, flags: Flags, direct: HttpClient, cached: HttpClient) -> None:
        self._flags = flags
        self._clients = {"direct": direct, "cache_proxy": cached}

    def require(self, user_id: int) -> None:
        """Raise Invalid when there is no such user, another Problem when that cannot be found out."""
        client = self._clients[self._flags["orders.user_lookup"]]
        try:
            status = client.get(f"/users/{user_id}").status
        except UpstreamError as error:
            raise _problem_of(error) from error
        if status == 404:
            raise Invalid(f"body: user_id: there is no user {user_id}")
        if status != 200:
            raise _problem_of_status(client.upstream, status)


def _problem_of(error: UpstreamError) -> Problem:
    detail = f"The user could not be checked: {error}."
    if isinstance(error, UpstreamTimeout):
        return GatewayTimeout(detail)
    if isinstance(error, UpstreamRefused):
        return Unavailable(detail, headers=_RETRY)
    return BadGateway(detail)


def _problem_of_status(upstream: str, status: int) -> Problem:
    detail = f"The user could not be checked: {upstream} answered {status}."
    if status == 503:
        return Unavailable(detail, headers=_RETRY)
    return GatewayTimeout(detail) if status == 504 else BadGateway(detail)

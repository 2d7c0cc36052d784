"""API keys: which client a request comes from.

The key itself goes no further than this file. Behind it a client is its name: in the rate limiter's state, in logs,
and in the header ``X-Client`` that upstreams get. A key is found by its hash, of which the process alone knows the
seed, so the time a look-up takes tells nothing about the keys there are.

A request without a key is the client ``anonymous``: all of them share one rate, so leaving the key out buys nobody
a rate of their own. A key nobody has is refused, because it is a mistake or a guess.
"""

import re
from collections.abc import Mapping

from costlab.service import problem

ANONYMOUS = "anonymous"
_PAIR = re.compile(r"([a-z0-9][a-z0-9-]{0,31}):([!-+\--~]{4,128})")
ACCEPTED = "name:key pairs separated by commas; a name is a-z, 0-9 and -, a key 4 to 128 printable characters"


class ApiKeys:
    """Client names by key."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)

    @classmethod
    def parse(cls, text: str) -> "ApiKeys":
        """The keys in ``name:key,name:key``; ValueError says what is accepted and shows no key."""
        pairs = [_PAIR.fullmatch(part.strip()) for part in text.split(",")]
        if not all(pairs):
            raise ValueError(f"pair {pairs.index(None) + 1} is not accepted: {ACCEPTED}")
        names = {pair[2]: pair[1] for pair in pairs}
        if len(names) < len(pairs):
            raise ValueError("two clients have the same key")
        if ANONYMOUS in names.values():
            raise ValueError(f"{ANONYMOUS} is the client of requests without a key")
        return cls(names)

    def clients(self) -> list[str]:
        """The names there are."""
        return [ANONYMOUS, *sorted(set(self._names.values()))]

    def client(self, key: str) -> str:
        """The client's name; Unauthorized when nobody has this key."""
        if not key:
            return ANONYMOUS
        try:
            return self._names[key]
        except KeyError:
            raise problem.Unauthorized("X-Api-Key: nobody has this key.", headers=_CHALLENGE) from None


# RFC 9110 11.6.1: a 401 names a way to authenticate.
_CHALLENGE = {"WWW-Authenticate": 'ApiKey realm="costlab", header="X-Api-Key"'}

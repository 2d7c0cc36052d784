"""Percentage rollout with sticky bucketing: a share of the users gets another value of a flag, always the same users.

    bucket = hash(salt, flag, user) in [0, 100)

    0            percent                          100 - percent          100
    ├── canary ──┼──────────── rest ──────────────┼────── baseline ──────┤

Example: 10 % of 10,000 users are 1,000, give or take 60 (two standard deviations). Growing to 25 % adds the 1,500 next
to them and takes nobody out; another salt or another flag draws others.

The baseline keeps the old value and is as large as the canary, drawn the same way at the same time: what differs
between the two is the value and nothing else. Held against everybody else, a canary of 1 % would have a hundredth of
the requests, and with them a larger scatter, a colder cache and the habits of other users. Beyond 50 % the baseline is
all who are not in the canary, at 100 % there is none.

Trade-off: nobody has to be stored and every process decides alike, but the share of *requests* is that of the users
drawn: with Zipf traffic one heavy user may be a tenth of all.
Use instead: ``costlab flags set`` to change it for everybody at once; a list of users where they have agreed to it.

``until`` ends it everywhere, by each process's own clock, unless it is renewed before: whoever watches it may die.

Units: percent of users, Unix seconds. Source: Kohavi et al., "Trustworthy Online Controlled Experiments" (2020), ch. 4
and 15; Netflix, "Automated Canary Analysis at Netflix with Kayenta" (2018), baseline.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson

CANARY, BASELINE, REST = "canary", "baseline", "rest"
# The group of everybody while nothing is rolled out.
ALL = "all"
DEFAULT_SECONDS = 900.0
LONGEST_SECONDS = 3600.0
_SALT = re.compile(r"[A-Za-z0-9_-]{1,32}")


class BadRollout(ValueError):
    """A rollout that cannot be; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """``percent`` of the users, drawn by ``salt``, get ``value`` until the Unix time ``until``."""

    value: str
    percent: float
    salt: str
    until: float

    def group(self, flag: str, user: str) -> str:
        """Where ``user`` is: canary, baseline or rest."""
        drawn = bucket(self.salt, flag, user)
        if drawn < self.percent:
            return CANARY
        return BASELINE if drawn >= 100 - self.percent else REST

    def dump(self) -> str:
        """As it is kept in Redis."""
        return orjson.dumps(asdict(self)).decode()


def bucket(salt: str, flag: str, user: str) -> float:
    """A number in [0, 100) that is always the same for these three, and evenly spread over users.

    >>> bucket("s", "users.version", "7") == bucket("s", "users.version", "7")
    True
    """
    drawn = hashlib.sha256(f"{salt}:{flag}:{user}".encode()).digest()
    return (int.from_bytes(drawn[:8], "big") >> 11) / 2**53 * 100


def load(text: str) -> Rollout:
    """The rollout of ``dump``; BadRollout when it is none."""
    try:
        rollout = Rollout(**orjson.loads(text))
    except (orjson.JSONDecodeError, TypeError) as error:
        raise BadRollout(f"not a rollout: {error}") from error
    _check(rollout)
    return rollout


def wished(document: Mapping[str, Any], salt: str, now: float) -> Rollout:
    """The rollout that ``document`` asks for: value, percent, and if given salt and seconds to live."""
    known = {"value", "percent", "salt", "seconds"}
    if unknown := set(document) - known:
        raise BadRollout(f"a rollout has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
    if missing := {"value", "percent"} - set(document):
        raise BadRollout(f"a rollout needs {' and '.join(sorted(missing))}")
    seconds = document.get("seconds", DEFAULT_SECONDS)
    if not _is_number(seconds) or not 1 <= seconds <= LONGEST_SECONDS:
        raise BadRollout(f"seconds to live: allowed are 1 to {LONGEST_SECONDS:.0f}")
    rollout = Rollout(document["value"], document["percent"], document.get("salt", salt), now + seconds)
    _check(rollout)
    return rollout


def _check(rollout: Rollout) -> None:
    if not isinstance(rollout.value, str):
        raise BadRollout("value is a text, one of the flag's values")
    if not _is_number(rollout.percent) or not 0 <= rollout.percent <= 100:
        raise BadRollout("percent: allowed are 0 to 100")
    if not isinstance(rollout.salt, str) or not _SALT.fullmatch(rollout.salt):
        raise BadRollout("salt: allowed are 1 to 32 letters, digits, - and _")
    if not _is_number(rollout.until):
        raise BadRollout("until is a Unix time")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

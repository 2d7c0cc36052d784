"""Where the instances of a service answer: a list of URLs, of which a name may stand for several addresses.

http://127.0.0.1:8141,http://127.0.0.1:8142     two instances (the local stack)
http://users:8000                               as many as DNS has addresses for users (Compose)
"""

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

Resolver = Callable[[str, int], Iterable[str]]


class Address(NamedTuple):
    """One instance, or a name that stands for several. ``authority`` is what the Host header says."""

    host: str
    port: int
    authority: str

    @property
    def literal(self) -> bool:
        """Whether it is an address already, which no look-up can change."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def parse(urls: str) -> tuple[Address, ...]:
    """The addresses in ``urls``, base URLs separated by commas."""
    parts = [urlsplit(url.strip()) for url in urls.split(",")]
    return tuple(Address(part.hostname or "", part.port or 80, part.netloc) for part in parts)


def resolve(named: Sequence[Address], resolver: Resolver) -> tuple[Address, ...]:
    """``named`` with every address of a name in its place, in a fixed order; what ``resolver`` raises."""
    found = {
        (host, address.port): address._replace(host=host)
        for address in named
        for host in ([address.host] if address.literal else sorted(resolver(address.host, address.port)))
    }
    return tuple(found.values())


def by_dns(host: str, port: int) -> set[str]:
    """The IPv4 addresses of ``host``, or its IPv6 ones where there are no others: two of one instance count once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    fours = {str(address[0]) for family, _, _, _, address in found if family == socket.AF_INET}
    return fours or {str(address[0]) for _, _, _, _, address in found}

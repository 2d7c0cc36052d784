"""From URLs to the addresses of instances, with a DNS that is passed in."""

import socket

import pytest

from costlab.service import addresses
from costlab.service.addresses import Address

DNS = {"users": ["10.0.0.9", "10.0.0.3"], "orders": ["10.0.0.4"]}


def looked_up(urls):
    return [(address.host, address.port) for address in addresses.resolve(addresses.parse(urls), lambda h, p: DNS[h])]


def test_a_list_of_addresses_is_taken_as_it_is():
    assert looked_up("http://127.0.0.1:8142,http://127.0.0.1:8141") == [("127.0.0.1", 8142), ("127.0.0.1", 8141)]


def test_a_name_stands_for_all_its_addresses_in_a_fixed_order():
    assert looked_up("http://users:8000") == [("10.0.0.3", 8000), ("10.0.0.9", 8000)]


def test_names_and_addresses_can_be_mixed_and_nothing_counts_twice():
    assert looked_up("http://orders:8000, http://10.0.0.4:8000,http://[::1]") == [("10.0.0.4", 8000), ("::1", 80)]


def test_the_host_header_keeps_the_name():
    found = addresses.resolve(addresses.parse("http://users:8000"), lambda host, port: DNS[host])
    assert {address.authority for address in found} == {"users:8000"}


def test_an_unknown_name_is_an_error_not_an_empty_list():
    with pytest.raises(OSError, match=r".+"):
        addresses.by_dns("no-such-host.invalid", 80)


def test_a_machine_with_two_kinds_of_addresses_counts_once(monkeypatch):
    both = [(socket.AF_INET6, 0, 0, "", ("::1", 80, 0, 0)), (socket.AF_INET, 0, 0, "", ("127.0.0.1", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: both)
    assert addresses.by_dns("localhost", 80) == {"127.0.0.1"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: both[:1])
    assert addresses.by_dns("localhost", 80) == {"::1"}


def test_what_is_an_address_is_never_looked_up():
    assert Address("127.0.0.1", 80, "").literal
    assert Address("::1", 80, "").literal
    assert not Address("users", 80, "").literal

"""Whose word on a client's address is believed."""

from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict

from edge.http.clients import Clients, network_of, read_address

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def seen(peer: str, *values: str, field: str = "X-Forwarded-For", believed: str = "X-Forwarded-For") -> str:
    request: Any = SimpleNamespace(remote=peer, headers=CIMultiDict([(field, value) for value in values]))
    return Clients(TRUSTED, believed).address_of(request)


@pytest.mark.parametrize(
    ("peer", "values", "client"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # anybody may write the field
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),  # the client's own lie stands further left
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["1.1.1.1," * 40], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, " * 40 + "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", *["10.0.0.2"] * 31, "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "10.0.0.3", *["10.0.0.2"] * 31], "10.0.0.3"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_the_client_is_the_nearest_address_that_no_trusted_proxy_has(peer: str, values: list[str], client: str) -> None:
    assert seen(peer, *values) == client


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["for=198.51.100.1;proto=https"], "198.51.100.1"),
        (['for="[2001:db8::1]:80";by=10.0.0.1'], "2001:db8::1"),
        (["for=6.6.6.6, proto=http;For=198.51.100.1"], "198.51.100.1"),
        (["for=198.51.100.1, for=unknown"], "10.0.0.1"),
        (["for=198.51.100.1, for=_hidden"], "10.0.0.1"),
    ],
)
def test_forwarded_is_read_where_it_is_configured(values: list[str], client: str) -> None:
    assert seen("10.0.0.1", *values, field="Forwarded", believed="Forwarded") == client


def test_the_field_that_the_proxies_do_not_write_is_not_read() -> None:
    assert seen("10.0.0.1", "for=198.51.100.1", field="Forwarded") == "10.0.0.1"
    assert seen("10.0.0.1", "198.51.100.1", believed="Forwarded") == "10.0.0.1"


def test_a_customer_of_ipv6_is_a_network() -> None:
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert network_of("198.51.100.1") == network_of("::ffff:198.51.100.1") == "198.51.100.1"
    assert read_address("1.2.3") is None
    assert read_address("999.1.1.1:80") is None

"""Who is at the other end: one subscriber is one source, and only a trusted proxy may say that it is somebody else."""

from ipaddress import ip_network
from typing import Any

import pytest

from api.http.policies.trusted_proxies import Proxies, source_of

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("::1/128"), ip_network("2001:db8:ff::/48")]


def scope(peer: str | None, *headers: tuple[str, str]) -> dict[str, Any]:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"client": None if peer is None else (peer, 4711), "scheme": "http", "headers": raw}


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        (None, ""),
    ],
)
def test_an_ipv6_subscriber_is_one_source_whatever_address_it_takes(peer: str | None, source: str) -> None:
    assert source_of(scope(peer)) == source


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.7, 10.0.0.9", "198.51.100.7"),
        ("10.0.0.1", "10.0.0.8,10.0.0.9", "10.0.0.8"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7, not an address", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7\n8.8.8.8", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("::1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("2001:db8:ff::1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", ", ".join(["1.1.1.1", *["10.0.0.2"] * 500]), "10.0.0.2"),
    ],
)
def test_the_client_is_the_nearest_hop_that_is_no_trusted_proxy(peer: str, forwarded: str, client: str) -> None:
    asked = scope(peer, ("x-forwarded-for", forwarded))
    Proxies(TRUSTED).look_behind(asked)
    assert asked["client"][0] == client


def test_several_header_lines_are_one_list() -> None:
    asked = scope("10.0.0.1", ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.7, 10.0.0.2"))
    Proxies(TRUSTED).look_behind(asked)
    assert asked["client"][0] == "198.51.100.7"


@pytest.mark.parametrize(
    ("peer", "proto", "scheme"),
    [
        ("10.0.0.1", "https", "https"),
        ("10.0.0.1", "gopher", "http"),
        ("192.0.2.1", "https", "http"),
    ],
)
def test_the_scheme_is_believed_of_a_trusted_proxy_alone(peer: str, proto: str, scheme: str) -> None:
    asked = scope(peer, ("x-forwarded-proto", proto))
    Proxies(TRUSTED).look_behind(asked)
    assert asked["scheme"] == scheme

"""Sources of requests: what limits count as one, and the client that a trusted proxy speaks for.

uvicorn's ``ProxyHeadersMiddleware`` takes what is no address for a client, follows any number of hops, and does not
know a trusted IPv4 proxy in IPv6 clothes; limits count by what comes out here.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from starlette.types import Scope

MOST_HOPS: Final = 20
NEIGHBOURHOOD: Final = 64
"""Bits of an IPv6 address that tell one subscriber from another: whoever has one address has all that share them."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_REMEMBERED: Final = 16_384


def source_of(scope: Scope) -> str:
    """What limits count as one: an IPv4 address, or the /64 of an IPv6 address. Empty where there is no address."""
    client = scope.get("client")
    return neighbourhood(client[0]) if client else ""


@lru_cache(_REMEMBERED)
def neighbourhood(text: str) -> str:
    """The address of one subscriber, as text: an IPv6 address stands for all of its /64."""
    address = address_of(text)
    if not isinstance(address, IPv6Address):
        return text
    return str(IPv6Network((int(address) >> NEIGHBOURHOOD << NEIGHBOURHOOD, NEIGHBOURHOOD)))


def address_of(text: str) -> Address | None:
    """The address, an IPv4 one also where it comes in IPv6 clothes (``::ffff:192.0.2.1``); None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Proxies:
    """The proxies whose word is taken for who is behind them. All others may say what they like."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)
        self._trusts = lru_cache(_REMEMBERED)(self._is_trusted)

    def look_behind(self, scope: Scope) -> None:
        """Puts the real client and scheme into the scope of a request that comes through a trusted proxy."""
        client = scope.get("client")
        if client is None or not self._trusts(client[0]):
            return
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        hops = [hop for name, value in headers if name == b"x-forwarded-for" for hop in value.split(b",")]
        scope["client"] = (self._nearest_stranger(hops, client[0]), 0)
        schemes = [value for name, value in headers if name == b"x-forwarded-proto"]
        if schemes and schemes[-1] in (b"http", b"https"):
            scope["scheme"] = schemes[-1].decode("ascii")

    def _nearest_stranger(self, hops: Sequence[bytes], nearest: str) -> str:
        """From the right, the first hop that is no trusted proxy: what stands left of it, that one may have made up."""
        for hop in reversed(hops[-MOST_HOPS:]):
            address = address_of(_without_port(hop.decode("latin-1").strip()))
            if address is None:
                break
            nearest = str(address)
            if not self._trusts(nearest):
                break
        return nearest

    def _is_trusted(self, text: str) -> bool:
        address = address_of(text)
        return address is not None and any(address in network for network in self._networks)


def _without_port(hop: str) -> str:
    """``192.0.2.1:4711`` and ``[2001:db8::1]:4711`` come from some proxies."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop

"""Destinations of webhooks: which URLs may be registered, and which addresses may be connected to.

A URL says little of where it leads: a name is resolved anew for each delivery, and :func:`is_public` is asked of every
address that comes of it. IANA's registries of special addresses (RFC 6890) say what is not public.
"""

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from domain.kernel.refusals import InvalidValue

LONGEST_URL: Final = 2000

_POINTER: Final = "/url"
_CHARACTERS: Final = re.compile(r"[!-~]+")
_NAME: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*\.?", re.ASCII)
_NUMBER: Final = re.compile(r"([0-9]+|0x[0-9a-f]*)\.?", re.ASCII)
_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


def destination(url: str, *, anywhere: bool) -> str:
    """Return a URL that a webhook may have; ``anywhere`` allows plain HTTP and private addresses."""
    if len(url) > LONGEST_URL:
        raise InvalidValue(f"must have at most {LONGEST_URL} characters", pointer=_POINTER)
    if not _CHARACTERS.fullmatch(url) or "\\" in url:
        raise InvalidValue("must be a URL in ASCII, without blanks", pointer=_POINTER)
    parts, host = _parts(url)
    if parts.scheme != "https" and not (anywhere and parts.scheme == "http"):
        raise InvalidValue("must begin with https://", pointer=_POINTER)
    if "@" in parts.netloc:
        raise InvalidValue("must hold neither a name nor a password", pointer=_POINTER)
    if "#" in url:
        raise InvalidValue("must have no fragment", pointer=_POINTER)
    _check_host(host, anywhere=anywhere)
    return url


def is_public(address: str) -> bool:
    """Whether an address is one of the Internet, and not of a machine, a network or a purpose of its own.

    An IPv4 address that stands within one of IPv6 (mapped, NAT64, 6to4, Teredo) is where a packet would end up.
    """
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv4Address):
        return found.is_global and not found.is_multicast
    if (within := _within(found)) is not None:
        return is_public(str(within))
    return found in _UNICAST and found.is_global


def _parts(url: str) -> tuple[SplitResult, str]:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        good = parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise InvalidValue("must be a URL", pointer=_POINTER)
    return parts, host


def _check_host(host: str, *, anywhere: bool) -> None:
    try:
        address = ip_address(host)
    except ValueError:
        # A host that ends in a number is an address, however it is written (WHATWG URL, 3.5): 127.1, 0x7f000001.
        if len(host) > 253 or not _NAME.fullmatch(host) or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            raise InvalidValue("must name a host", pointer=_POINTER) from None
        return
    if not anywhere and not is_public(str(address)):
        raise InvalidValue("must be an address of the Internet", pointer=_POINTER)


def _within(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour

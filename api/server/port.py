"""The port that is served, at each address of the host."""

import socket
from collections.abc import Iterator
from typing import Any

from uvicorn import Config

from infra.host.entry_point import CannotListen


def insist_on_port(config: Config) -> None:
    """Looks whether it is free, before anything is begun for which it would be needed. Raises :class:`CannotListen`."""
    for each in bound(config):
        each.close()


def bound(config: Config) -> Iterator[socket.socket]:
    """The port at each address of the host, held from here on, and heard by nobody until a worker serves.

    Raises :class:`CannotListen`.
    """
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            yield _bound_to(address, socket.socket(family, kind, protocol))
    except OSError as error:
        at = f"{config.host}:{config.port}"
        raise CannotListen(f"WEIR_HOST and WEIR_PORT lead to {at}: {error.strerror}") from None


def _bound_to(address: Any, listening: socket.socket) -> socket.socket:
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as asyncio has it
        listening.bind(address)
        listening.set_inheritable(True)
    except OSError:
        listening.close()
        raise
    return listening

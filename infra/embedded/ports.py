"""Free TCP ports on the loopback interface."""

import secrets
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from infra.embedded.process import StartFailed

_LOWEST = 15_000
_ATTEMPTS = 5
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_DEFAULT = 32_768


def free_port() -> int:
    """A port nobody listens on, below the range that the kernel hands to outgoing connections.

    A port of that range would be unsafe for a server that may restart: while it is down, a client that keeps trying
    to reach it can be given the very same port as its own, connect to itself, and hold it.
    """
    width = _first_ephemeral() - _LOWEST
    for _ in range(200):
        port = _LOWEST + secrets.randbelow(width)
        if is_free(port):
            return port
    raise OSError(f"no free port between {_LOWEST} and {_LOWEST + width}")


def free_ports(count: int) -> list[int]:
    """As many free ports, no two the same."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


async def on_free_port(start: Callable[[int], Awaitable[None]], preferred: int = 0) -> int:
    """Start a server on a port that is free, if possible the preferred one, on another if somebody was quicker.

    Returns the port.
    """
    for attempt in range(_ATTEMPTS):
        port = preferred if preferred and attempt == 0 and is_free(preferred) else free_port()
        try:
            await start(port)
        except StartFailed:
            if is_free(port):
                raise
        else:
            return port
    raise OSError(f"{_ATTEMPTS} free ports were taken before a server could have them")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now. Asked the way servers ask: lingering closed connections do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _first_ephemeral() -> int:
    first = int(_EPHEMERAL.read_text(encoding="utf-8").split()[0])
    return first if first > _LOWEST + 1_000 else _EPHEMERAL_DEFAULT

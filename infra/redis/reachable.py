"""Whether a Redis can be used as the settings say; if not, which, and why, without its password."""

from collections.abc import Awaitable, Callable
from typing import Final, cast
from urllib.parse import unquote, urlsplit

import structlog
from pydantic import SecretStr
from redis.exceptions import AuthenticationError, ResponseError

from infra.errors import Rejected, Unavailable
from infra.host import network_errors
from infra.redis.client import BROKEN
from infra.redis.topology.library import Client, open_redis
from infra.redis.topology.url import REDIS_PORT, Kind, kind_of, way_of

_WRITTEN: Final = "weir:written"

_log = structlog.get_logger("weir.startup")


async def insist(url: SecretStr) -> None:
    """For who cannot work without it. Raises :class:`~infra.errors.Unavailable`, within some two seconds."""
    await _ask(url, _answers)


async def warn(url: SecretStr) -> None:
    """For who can: it is told at the start, so that a wrong password is not taken for a slow day."""
    try:
        await _ask(url, take_write)
    except Unavailable as away:
        _log.warning("works without Redis", why=str(away))


async def take_write(redis: Client) -> None:
    """Raises one of ``BROKEN`` unless something can be written. A server that only answers is of no use: it may be a
    replica, or have none of those it wants, or no memory, or none for us."""
    await redis.set(_WRITTEN, b"", px=1_000)


async def _answers(redis: Client) -> None:
    await cast(Awaitable[bool], redis.ping())


async def _ask(url: SecretStr, question: Callable[[Client], Awaitable[None]]) -> None:
    redis = open_redis(url)
    try:
        await question(redis)
    except BROKEN as error:
        raise unreachable(url, error) from error
    finally:
        await redis.aclose()


def unreachable(url: SecretStr, error: Exception) -> Unavailable:
    """What is said of it; :class:`~infra.errors.Rejected` where it answers, and will not have us."""
    for each in network_errors.behind(error):
        if isinstance(each, (AuthenticationError, ResponseError)):
            return Rejected(f"Redis at {_place(url)} refuses: {each}")
    if network_errors.is_certificate(error):
        return Rejected(f"Redis at {_place(url)} refuses: {network_errors.cause(error)}")
    return Unavailable(f"Redis at {_place(url)} cannot be reached: {network_errors.cause(error)}")


def _place(url: SecretStr) -> str:
    if kind_of(url) is not Kind.ONE:
        return ", ".join(network_errors.place(*place) for place in way_of(url).places)
    parts = urlsplit(url.get_secret_value())
    if parts.scheme == "unix":
        return unquote(parts.path)
    return network_errors.place(parts.hostname, parts.port or REDIS_PORT)

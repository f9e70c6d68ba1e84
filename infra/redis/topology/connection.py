"""A connection to the server that holds a key, which ends when another has taken over."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final

from hiredis import ReplyError
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError

from infra.redis.client import BROKEN
from infra.redis.pipeline import PipelineConnection
from infra.redis.resp import pack
from infra.redis.topology.holders import locate
from infra.redis.topology.url import Kind, kind_of

LOOK_SECONDS: Final = 1.0
"""How often it is asked whether the server still is the one. Sentinel and the cluster end the connections to a server
that they make a replica; but one that they cannot reach they cannot tell, and it takes writes that are lost."""


async def connect_to(
    url: SecretStr,
    key: str,
    on_push: Callable[[Any], None] | None = None,
    on_lost: Callable[[], None] | None = None,
) -> PipelineConnection:
    """A connection to whoever holds the key, for as long as that is so. Raises one of ``BROKEN``."""
    server = (await locate(url)).of(key)
    if kind_of(url) is Kind.ONE:
        return await connect_to_master(server, on_push, on_lost)
    watches: list[asyncio.Task[None]] = []

    def lost() -> None:
        for watch in watches:
            watch.cancel()
        if on_lost is not None:
            on_lost()

    wire = await connect_to_master(server, on_push, lost)
    watches.append(asyncio.create_task(_watch(url, key, server, wire)))
    return wire


async def connect_to_master(
    server: SecretStr, on_push: Callable[[Any], None] | None, on_lost: Callable[[], None] | None
) -> PipelineConnection:
    """A connection to a server that says of itself that it takes writes, or that may not be asked.

    Who named it may not have heard yet that it has become a replica, from which nothing of ours would come. Raises one
    of ``BROKEN``.
    """
    wire = await PipelineConnection.connect(server, on_push, on_lost)
    try:
        (role,) = await wire.ask(pack("ROLE"), 1)
        if not isinstance(role, ReplyError) and role[0] != b"master":
            raise RedisConnectionError("it is a replica, and takes no writes")
    except BaseException:
        wire.close()
        raise
    return wire


async def _watch(url: SecretStr, key: str, server: SecretStr, wire: PipelineConnection) -> None:
    """While nobody can say who holds what, it is who it was."""
    while wire.up:
        await asyncio.sleep(LOOK_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311
        try:
            now = (await locate(url)).of(key)
        except BROKEN:
            continue
        if now != server:
            wire.close()

"""Commands of Redis, packed by hiredis, and what some replies mean: for connections without the client library."""

from collections.abc import Mapping
from typing import Any, cast

from hiredis import ReplyError, pack_command


def pack(*arguments: str | bytes) -> bytes:
    """One command in RESP, the Redis wire protocol: an array of bulk strings."""
    # hiredis' stub asks for a tuple of one.
    return cast("bytes", pack_command(cast("Any", arguments)))


def is_of_another_type(reply: Any) -> bool:
    """Whether a command was refused because somebody has put another kind of value under the key."""
    return isinstance(reply, ReplyError) and str(reply).startswith("WRONGTYPE")


def info_of(reply: bytes | ReplyError) -> Mapping[str, str]:
    """What ``INFO`` answers, field by field; a server that may not be asked has told nothing."""
    if isinstance(reply, ReplyError):
        return {}
    return dict(line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)

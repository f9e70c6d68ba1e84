"""Commands of Redis, packed by hiredis."""

from typing import Any, cast

from hiredis import pack_command


def pack(*arguments: str | bytes) -> bytes:
    """One command in RESP, the Redis wire protocol: an array of bulk strings."""
    # hiredis' stub asks for a tuple of one.
    return cast("bytes", pack_command(cast("Any", arguments)))

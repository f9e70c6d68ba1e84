"""RESP, the protocol of Redis: commands packed, replies unpacked."""

from collections.abc import Iterable


def pack(*arguments: str | bytes) -> bytes:
    """One command in RESP, the Redis wire protocol: an array of bulk strings."""
    return b"*%d\r\n" % len(arguments) + bulks(arguments)


def bulks(arguments: Iterable[str | bytes]) -> bytes:
    """The arguments of a command as RESP bulk strings."""
    parts = [argument.encode() if isinstance(argument, str) else argument for argument in arguments]
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])

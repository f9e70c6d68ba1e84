"""Read your own writes: the opaque token that proves a write, as the positions by shard at which it must be visible."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias
from zlib import crc32

from infra import base64url
from infra.eventsourcing.event_log import LAST

MOST_TOKENS: Final = 16
_FORM: Final = b"\x01"
_MOST_SHARDS: Final = 64

Needs: TypeAlias = Mapping[int, int]
"""Shard → the position that must be visible there."""


class InvalidToken(ValueError):
    """This is not a token that a write was answered with."""


def encode(positions: Needs) -> str:
    """The token of a write whose last events are at these positions, by shard: opaque, in URL-safe characters."""
    numbers = _FORM + b"".join([_varint(shard) + _varint(position) for shard, position in positions.items()])
    return base64url.encode(numbers + _checksum(numbers))


def decode(text: str) -> Needs:
    """What the token asks for; of several, separated by commas, the most. Raises :class:`InvalidToken`."""
    parts = text.split(",")
    if len(parts) > MOST_TOKENS:
        raise InvalidToken("too many tokens")
    needs: dict[int, int] = {}
    for part in parts:
        for shard, position in _pairs(part.strip()):
            needs[shard] = max(position, needs.get(shard, 0))
    return needs


def _pairs(text: str) -> Iterable[tuple[int, int]]:
    try:
        raw = base64url.decode(text)
    except ValueError as error:
        raise InvalidToken("not a token") from error
    numbers, checksum = raw[:-4], raw[-4:]
    if checksum != _checksum(numbers) or not numbers.startswith(_FORM):
        raise InvalidToken("not a token")
    read = _numbers(numbers[len(_FORM) :])
    pairs = list(zip(read[::2], read[1::2], strict=False))
    if len(read) % 2 or any(shard >= _MOST_SHARDS or position > LAST for shard, position in pairs):
        raise InvalidToken("not a token")
    return pairs


def _checksum(numbers: bytes) -> bytes:
    return crc32(numbers).to_bytes(4, "big")


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; all bytes but the last have the high bit."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _numbers(encoded: bytes) -> list[int]:
    numbers, number, shift = [], 0, 0
    for byte in encoded:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    if shift:
        raise InvalidToken("not a token")
    return numbers

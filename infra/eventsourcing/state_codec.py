"""States of streams to JSON bytes and back, exactly: what a snapshot of a stream keeps of it.

A snapshot is a cache of the log: one that cannot be read, or whose shape is not that of today, is thrown away and the
stream is folded anew. So states have no versions and no upcasters, as events have.
"""

from typing import Any, Final, TypeVar

from msgspec.json import Decoder, Encoder

S = TypeVar("S")

_encoder: Final = Encoder()
_decoders: Final[dict[type[Any], Decoder[Any]]] = {}


class MalformedState(Exception):
    """The bytes are not those of a state of this type."""


def encode_state(state: object) -> bytes:
    """Write a state: a dataclass of plain values, enums, and tuples, sets, mappings and dataclasses of them."""
    return _encoder.encode(state)


def decode_state(kind: type[S], data: bytes | memoryview) -> S:
    """Read a state. What the bytes do not say has its default, so a snapshot is named for the code that wrote it
    (:func:`infra.eventsourcing.store.snapshots.code_of`), and read by no other.

    Raises:
        MalformedState: it is not JSON, or a field is missing or is not what it should be.
    """
    decoder = _decoders.get(kind) or _decoders.setdefault(kind, Decoder(kind))
    try:
        state: S = decoder.decode(data)
    except (ValueError, RecursionError) as error:
        raise MalformedState(f"{kind.__name__}: {error}") from error
    return state

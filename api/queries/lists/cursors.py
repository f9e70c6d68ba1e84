"""Cursors of lists: a position in one sort of one filter, opaque to clients and useless for any other list."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import orjson

from infra import base64url
from infra.eventsourcing.event_log import EventLog

LONGEST: Final = 2048
_DIGEST: Final = 8


class InvalidCursor(ValueError):
    """This cursor was not given out for this list."""


def encode(list_id: bytes, place: list[Any]) -> str:
    """The cursor behind ``place``, a few JSON values, in the list that ``list_id`` tells from all others."""
    payload = orjson.dumps(place)
    return base64url.encode(_digest(list_id, payload) + payload)


def decode(list_id: bytes, text: str, kinds: tuple[type, ...]) -> list[Any]:
    """The place behind a cursor, of values of these kinds. Raises :class:`InvalidCursor`."""
    try:
        raw = base64url.decode(text)
        digest, payload = raw[:_DIGEST], raw[_DIGEST:]
        if digest != _digest(list_id, payload):
            raise InvalidCursor
        place = orjson.loads(payload)
    except ValueError:
        raise InvalidCursor from None
    if not isinstance(place, list) or tuple(map(type, place)) != kinds:
        raise InvalidCursor
    return place


def list_id(log: EventLog, name: str, conditions: Mapping[str, Any]) -> bytes:
    """What makes a list the list it is: log, name, sort, filters, and whose it is; not the size of its pages."""
    told = {name: str(value) for name, value in conditions.items() if value is not None}
    return orjson.dumps([log.log_id, name, told], option=orjson.OPT_SORT_KEYS)


def _digest(list_id: bytes, payload: bytes) -> bytes:
    """Nobody outside knows the log's id: a cursor with a good digest is one of ours and needs no more checks."""
    return blake2b(payload, key=blake2b(list_id, digest_size=32).digest(), digest_size=_DIGEST).digest()

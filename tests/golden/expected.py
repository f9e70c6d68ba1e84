"""The golden payloads, and what this release reads each of them as: stored name and version → event.

Lines are added to the files beside this one, and never changed: each is a payload as some release has stored it.
"""

from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, TypeAlias, get_args, get_origin, get_type_hints
from uuid import UUID

import orjson

from domain.accounts import AccountRegistered, Role
from domain.kernel.messages import Event
from domain.registry import EVENTS

Payloads: TypeAlias = Mapping[tuple[str, int], Any]


def _lines(name: str) -> Payloads:
    rows = [orjson.loads(line) for line in (Path(__file__).parent / name).read_bytes().splitlines()]
    found = {(kind, version): payload for kind, version, payload in rows}
    assert len(found) == len(rows)
    return found


def _read(hint: Any, told: Any) -> Any:
    """What a payload tells, as the type says: no codec has a part in it."""
    arguments = get_args(hint)
    if get_origin(hint) is UnionType:
        (kind,) = (each for each in arguments if each is not NoneType)
        return None if told is None else _read(kind, told)
    if get_origin(hint) is tuple:
        return tuple(_read(arguments[0], each) for each in told)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(**{name: _read(hints[name], value) for name, value in told.items()})  # type: ignore[operator]
    return datetime.fromisoformat(told) if hint is datetime else hint(told)


GOLDEN: Final = _lines("events.jsonl")
"""Of every event, a payload of every version."""
EXPECTED: Final[Mapping[tuple[str, int], Event]] = {
    (name, version): _read(EVENTS[name].cls, payload)
    for (name, version), payload in GOLDEN.items()
    if EVENTS[name].version == version
}
"""What those of the newest version tell. What one of an older version becomes is to be written out here."""

GOLDEN_SHORTER: Final = _lines("shorter.jsonl")
"""Payloads from before a field was added with a default."""
SHORTER: Final[Mapping[tuple[str, int], Event]] = {
    ("account.registered", 1): AccountRegistered(
        account_id=UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
        email="Ada@Bücher.example",
        email_key="ada@xn--bcher-kva.example",
        username="Ada",
        username_key="ada",
        roles=(Role.CUSTOMER, Role.ADMIN),
        language=None,
    ),
}

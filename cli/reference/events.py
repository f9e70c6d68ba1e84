"""The page of all events: their names, what each says, and who goes by it, from the tables of the code."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from enum import Enum
from inspect import cleandoc
from itertools import groupby
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from domain.kernel.event_registry import EventType
from domain.kernel.messages import Event
from domain.money import Money
from domain.registry import EVENTS
from projections.registry import PROJECTIONS
from workers.mail.reactions import REACTIONS

HEAD: Final = """\
# Events

<!-- Made by `make reference` from domain/registry.py and the tables that name events: change the text there. -->

Everything that has happened is an event in the log, stored for ever under the name that stands here. Where a shape
changes, it gets a new version, and older ones are brought to it as they are read. `GET /v1/events` reads the log, and
`GET /v1/orders/{id}/history` what has happened to one order.

*Read models* are those that change because of the event, *mails* what a customer gets because of it. How values are
written: a `uuid` and a `time` (RFC 3339, UTC) as text, `money` as `{"amount": "19.90", "currency": "EUR"}`, a `decimal`
as text; `or null` where there may be none.
"""
_WORDS: Final[Mapping[Any, str]] = {
    str: "text",
    int: "number",
    bool: "true or false",
    UUID: "uuid",
    datetime: "time",
    Decimal: "decimal",
    Money: "money",
}


def page() -> str:
    """All of it."""
    parts: dict[str, type[Any]] = {}
    told = list(_contexts(parts))
    return "\n".join((HEAD, *told, *_parts(parts))) + "\n"


def _contexts(parts: dict[str, type[Any]]) -> Iterator[str]:
    for context, named in groupby(EVENTS.items(), key=lambda item: item[0].partition(".")[0]):
        yield f"## {context}\n"
        for name, kind in named:
            yield from _event(name, kind, parts)


def _event(name: str, kind: EventType, parts: dict[str, type[Any]]) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"{_sentence(kind.cls)}\n"
    yield from _table(kind.cls, parts)
    yield f"Version {kind.version}. {_followers(kind.cls)}\n"


def _followers(cls: type[Event]) -> str:
    models = [f"`{name}`" for name, projection in PROJECTIONS.items() if cls in projection.handles]
    mails = [f"`{reaction.__name__}`" for reaction in REACTIONS.get(cls, ())]
    told = (("Read models", models), ("Mails", mails))
    return " ".join(f"{what}: {', '.join(names)}." for what, names in told if names) or "None of them goes by it."


def _table(cls: type[Any], parts: dict[str, type[Any]]) -> Iterator[str]:
    hints = get_type_hints(cls)
    yield "| field | value |\n|---|---|"
    for field in fields(cls):
        yield f"| `{field.name}` | {_words(hints[field.name], parts)} |"
    yield ""


def _parts(parts: dict[str, type[Any]]) -> Iterator[str]:
    """What events consist of that have fields themselves; a part may have parts."""
    yield "## Parts\n"
    told: list[str] = []
    while waiting := [name for name in parts if name not in told]:
        name = waiting[0]
        told.append(name)
        yield f"### {name}\n"
        yield f"{_sentence(parts[name])}\n"
        yield from _table(parts[name], parts)


def _words(hint: Any, parts: dict[str, type[Any]]) -> str:
    inner = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join("null" if each is NoneType else _words(each, parts) for each in inner)
    if get_origin(hint) is tuple:
        return f"list of {_words(inner[0], parts)}"
    if hint in _WORDS:
        return _WORDS[hint]
    if issubclass(hint, Enum):
        return _either([f"`{each.value}`" for each in hint])
    parts[hint.__name__] = hint
    return f"[{hint.__name__}](#{hint.__name__.lower()})"


def _either(values: Sequence[str]) -> str:
    return ", ".join(values)


def _sentence(cls: type[Any]) -> str:
    """What the class says of itself, in Markdown."""
    return cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("``", "`")

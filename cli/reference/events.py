"""The page of all events: what each says, who goes by it, where it is told and how that looks, from the code's tables.

Examples, frames and what else is told as it happens are those of the AsyncAPI document.
"""

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

import orjson

from api.live.asyncapi import document
from api.live.examples import frames
from domain.kernel.event_registry import EventType
from domain.kernel.messages import Event
from domain.money import Money
from domain.registry import EVENTS
from projections.registry import PROJECTIONS
from workers.mail.reactions import REACTIONS

HEAD: Final = """\
# Events

<!-- Made by `make reference` from domain/registry.py and the tables that name events, with the AsyncAPI document. -->

Everything that has happened is an event in the log, stored for ever under the name that stands here. Where a shape
changes, it gets a new version, and older ones are brought to it as they are read.

*Read models* are those that change because of the event, *mails* what a customer gets because of it. How values are
written: a `uuid` and a `time` (RFC 3339, UTC) as text, `money` as `{"amount": "19.90", "currency": "EUR"}`, a `decimal`
as text; `or null` where there may be none.

Where events are told, for programs in [asyncapi.json](asyncapi.json), a running API's `/asyncapi.json`:

| where | what |
|---|---|
| `GET /v1/events`, a list or server-sent events | every event, as it was stored; the examples below are its `data` |
| `GET /v1/orders/{id}/events`, server-sent events | each event of an order, as a [change](#change) |
| `/v1/rooms/{id}/live`, a WebSocket | each event of a room as a frame, and [what else is said](#the-socket-of-a-room) |
| [webhooks](webhooks.md) | those for which a body stands below, to who has registered for them |

An event of the log as a whole:

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
    return "\n".join((HEAD + _shown(_example("log.order.paid")), *told, *_beside(), *_parts(parts))) + "\n"


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
    if (stored := _example(f"log.{name}")) is not None:
        yield _shown(stored["data"])
    if (frame := frames().get(name)) is not None:
        yield f"In the room it is the frame `{frame['type']}`:\n\n{_shown(frame)}"
    if (sent := _example(f"webhook.{name}")) is not None:
        yield f"Webhooks are sent:\n\n{_shown(sent)}"


def _beside() -> Iterator[str]:
    """What is told as it happens and is no event."""
    yield "## The streams of orders\n"
    yield from (_message(name) for name in ("order.change", "stream.end"))
    yield "## The socket of a room\n"
    yield "A client sends:\n"
    of_events = {f"frame.{frame['type']}" for frame in frames().values()}
    names = list(document()["channels"]["room"]["messages"])
    yield from (_message(name) for name in names if name.startswith("say."))
    yield "And is told, beside the frames of [the room's events](#room):\n"
    yield from (_message(name) for name in names if name.startswith("frame.") and name not in of_events)


def _message(name: str) -> str:
    message = document()["components"]["messages"][name]
    return f"### {message['name']}\n\n{message['summary']}\n\n{_shown(_example(name))}"


def _example(name: str) -> Any:
    """Of a message of the AsyncAPI document; None where there is no such message, or it has none."""
    examples = document()["components"]["messages"].get(name, {}).get("examples", ())
    return examples[0]["payload"] if examples else None


def _shown(told: Any) -> str:
    return f"```json\n{orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()}\n```\n"


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

"""The AsyncAPI document: what is told as it happens, by server-sent events, in rooms, and to webhooks.

It is made of the very types that are sent: the table of events, the public shapes, the frames.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from inspect import cleandoc
from typing import Any, Final

from pydantic import TypeAdapter

from api.http.event_stream import StreamEnd
from api.http.openapi.document import METADATA
from api.http.openapi.sentences import sentences_within
from api.live.examples import examples
from api.live.frames import AuthFrame, MessageFrame, PingFrame
from api.live.told_frames import (
    AckFrame,
    ClosedFrame,
    ErrorFrame,
    InvitedFrame,
    JoinedFrame,
    LeftFrame,
    PongFrame,
    UninvitedFrame,
    WelcomeFrame,
)
from api.queries.events import EventDocument
from api.queries.order_events import OrderChange
from api.queries.room_messages import MessageDocument
from domain.public_events import PUBLIC
from domain.registry import EVENTS

Node = dict[str, Any]

SAID: Final[tuple[type[Any], ...]] = (AuthFrame, MessageFrame, PingFrame)
HEARD: Final[tuple[type[Any], ...]] = (
    WelcomeFrame,
    JoinedFrame,
    LeftFrame,
    InvitedFrame,
    UninvitedFrame,
    ClosedFrame,
    AckFrame,
    ErrorFrame,
    PongFrame,
)
FRAMES: Final = (*SAID, *HEARD)

REF: Final = "#/components/schemas/{model}"
SIGNED: Final[Node] = {
    "type": "object",
    "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
    "properties": {
        "webhook-id": {"type": "string", "description": "The same at each attempt: keep it, and take a message once."},
        "webhook-timestamp": {"type": "string", "description": "When this attempt was made, in seconds since 1970."},
        "webhook-signature": {"type": "string", "description": "One or more of `v1,<base64>`, divided by a blank."},
    },
}


@cache
def document() -> Node:
    """The document; the same each time."""
    channels = _channels()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": METADATA["title"],
            "version": METADATA["version"],
            "description": "What Weir tells as it happens. Routes, errors and how to sign in: `/openapi.json`."
            " The same for people, event by event: `/docs/guide/events.html` in development.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": dict(_operations(channels)),
        "components": {"messages": dict(_exemplified(_messages())), "schemas": _schemas()},
    }


def _channels() -> Node:
    frames = [_name(kind) for kind in FRAMES] + ["frame.message"]
    end = ["stream.end"]
    return {
        "log": _channel(
            "/v1/events",
            "Server-sent events: the log, from any position on, each event as it was stored.",
            [*map(_logged, EVENTS), *end],
        ),
        "order": _channel(
            "/v1/orders/{order_id}/events",
            "Server-sent events: what happens to an order.",
            ["order.change", *end],
            order_id="The order.",
        ),
        "orders": _channel(
            "/v1/orders/events", "Server-sent events: what happens to up to 20 orders.", ["order.change", *end]
        ),
        "room": {
            **_channel(
                "/v1/rooms/{room_id}/live",
                "A WebSocket in a room. The first frame is the client's: who asks, and from which place on.",
                frames,
                room_id="The room.",
            ),
            "bindings": {"ws": {"method": "GET"}},
        },
        "webhook": _channel(None, "POST to the URL that a webhook was registered with.", list(map(_public, PUBLIC))),
    }


def _channel(address: str | None, description: str, messages: list[str], **parameters: str) -> Node:
    told: Node = {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if parameters:
        told["parameters"] = {name: {"description": what} for name, what in parameters.items()}
    return told


def _operations(channels: Node) -> Iterator[tuple[str, Node]]:
    """What the shop does: it sends what is heard, and takes what is said."""
    for channel, node in channels.items():
        said = {_name(kind) for kind in SAID} if channel == "room" else set()
        heard = [name for name in node["messages"] if name not in said]
        yield f"tell-{channel}", _operation("send", channel, heard)
        if said:
            yield f"hear-{channel}", _operation("receive", channel, sorted(said))


def _operation(action: str, channel: str, messages: list[str]) -> Node:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _messages() -> Iterator[tuple[str, Node]]:
    for name, stored in EVENTS.items():
        body = _within(EventDocument, name, data=_ref(stored.cls))
        yield _logged(name), _message(name, _summary(stored.cls), body)
    for name, public in PUBLIC.items():
        body = {
            "type": "object",
            "required": ["type", "timestamp", "data"],
            "properties": {
                "type": {"const": name},
                "timestamp": {"type": "string", "format": "date-time", "description": "When it happened."},
                "data": _ref(public.shape),
            },
        }
        yield _public(name), _message(name, _summary(public.shape), body, headers=SIGNED)
    yield "order.change", _message("change", _summary(OrderChange), _ref(OrderChange))
    yield "stream.end", _message("end", _summary(StreamEnd), _ref(StreamEnd))
    for kind in FRAMES:
        yield _name(kind), _message(_type(kind), _summary(kind), _ref(kind))
    said = _within(MessageDocument, "message")
    yield "frame.message", _message("message", "What somebody said, as a list of messages tells it.", said)


def _exemplified(messages: Iterable[tuple[str, Node]]) -> Iterator[tuple[str, Node]]:
    told = examples()
    for name, message in messages:
        yield name, message | ({"examples": [{"payload": told[name]}]} if name in told else {})


def _message(name: str, summary: str, payload: Node, **more: Any) -> Node:
    return {"name": name, "summary": summary, "payload": payload, **more}


def _within(shape: type[Any], name: str, **fields: Node) -> Node:
    """The shape, of the type of that name."""
    narrowed: Node = {"type": {"const": name}, **fields}
    return {"allOf": [_ref(shape), {"type": "object", "required": ["type"], "properties": narrowed}]}


def _schemas() -> Node:
    """Each shape that is named, and those that they are made of, with what stands below their fields in the source."""
    kinds: list[Any] = [kind.cls for kind in EVENTS.values()]
    kinds += [public.shape for public in PUBLIC.values()]
    kinds += [*FRAMES, OrderChange, StreamEnd, EventDocument, MessageDocument]
    adapters: list[tuple[Any, Any, TypeAdapter[Any]]] = [
        (kind, "validation" if kind in SAID else "serialization", TypeAdapter(kind)) for kind in dict.fromkeys(kinds)
    ]
    _, made = TypeAdapter.json_schemas(adapters, ref_template=REF)
    sentences = sentences_within(kinds)
    schemas: Mapping[str, Node] = made["$defs"]
    return {name: _told(schemas[name], sentences.get(name, {})) for name in sorted(schemas)}


def _told(schema: Node, sentences: Mapping[str, str]) -> Node:
    """The schema in plain words."""
    properties = {
        name: {key: value for key, value in field.items() if key != "title"}
        | ({"description": _plainly(sentences[name])} if name in sentences else {})
        for name, field in schema.get("properties", {}).items()
    }
    told = {key: value for key, value in schema.items() if key not in ("title", "properties")}
    if "description" in told:
        told["description"] = _plainly(told["description"])
    if "const" in properties.get("type", {}):  # a default to us, and always there for others
        told["required"] = ["type", *(name for name in told.get("required", ()) if name != "type")]
    return told | ({"properties": properties} if properties else {})


def _ref(kind: type[Any]) -> Node:
    return {"$ref": REF.format(model=kind.__name__)}


def _logged(name: str) -> str:
    return f"log.{name}"


def _public(name: str) -> str:
    return f"webhook.{name}"


def _name(kind: type[Any]) -> str:
    said = "say" if kind in SAID else "frame"
    return f"{said}.{_type(kind)}"


def _type(kind: type[Any]) -> str:
    return kind.__name__.removesuffix("Frame").lower()


def _summary(kind: type[Any]) -> str:
    return _plainly(cleandoc(kind.__doc__ or ""))


def _plainly(text: str) -> str:
    """The first paragraph of a docstring, in Markdown."""
    return " ".join(text.partition("\n\n")[0].replace("``", "`").split())

"""The AsyncAPI document says what is sent: payloads of every kind fit what it tells of them."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_type_hints
from uuid import UUID

import jsonschema_rs
import orjson
import pytest

from api.examples.story import ROOM, Story
from api.http.event_stream import StreamEnd
from api.live import told_frames
from api.live.asyncapi import HEARD, document
from api.live.frames import frame_of
from api.live.told_frames import told
from api.queries.order_events import change_of
from domain.kernel.messages import Recorded
from domain.registry import EVENTS
from infra.eventsourcing.subscriptions import FollowedEvent
from projections.order_summary import ORDER_SUMMARY
from tests.golden.expected import GOLDEN

DOCUMENT: Final = document()
PUBLIC: Final = (Path(__file__).parents[2] / "golden" / "public_events.jsonl").read_bytes().splitlines()
SAMPLES: Final[dict[type[Any], Any]] = {
    str: "c-1",
    int: 7,
    UUID: UUID(int=1),
    datetime: datetime(2026, 11, 29, tzinfo=UTC),
    list[UUID]: [UUID(int=1)],
}


def fits(message: str, payload: Any) -> None:
    """Raises unless the payload is what the document tells of the message."""
    schema = {"components": DOCUMENT["components"], "$ref": f"#/components/messages/{message}/payload"}
    jsonschema_rs.validate(schema, payload, validate_formats=True)


class Followed(FollowedEvent):
    """An event as followers get it, without a row."""

    def __init__(self, event: Recorded) -> None:
        self._recorded = event


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from [node["$ref"]] if "$ref" in node else []
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from references(each)


def test_whatever_is_referred_to_is_there() -> None:
    for reference in set(references(DOCUMENT)):
        node = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            node = node[name]


def test_every_message_is_one_of_a_channel_and_is_said_in_a_sentence() -> None:
    on_channels = {name for channel in DOCUMENT["channels"].values() for name in channel["messages"]}
    assert on_channels == DOCUMENT["components"]["messages"].keys()
    summaries = {name: message["summary"] for name, message in DOCUMENT["components"]["messages"].items()}
    assert {name: said for name, said in summaries.items() if not re.fullmatch(r"[^:]*\.|.*[^:]\.", said)} == {}
    assert ":meth:" not in orjson.dumps(DOCUMENT).decode()


@pytest.mark.parametrize("name", DOCUMENT["components"]["messages"])
def test_every_message_has_an_example_that_fits(name: str) -> None:
    """One of a stored event comes of the day in `api/examples/rest_of_the_day.py`: it has to happen there."""
    (example,) = DOCUMENT["components"]["messages"][name]["examples"]
    fits(name, example["payload"])


@pytest.mark.parametrize("name", EVENTS)
def test_a_stored_event_fits(name: str) -> None:
    payload = {
        "position": 1,
        "stream_id": str(UUID(int=1)),
        "version": 1,
        "category": name.partition(".")[0],
        "type": name,
        "data": GOLDEN[name, EVENTS[name].version],
        "metadata": {},
        "recorded_at": "2026-11-29T12:00:00Z",
    }
    fits(f"log.{name}", payload)
    with pytest.raises(jsonschema_rs.ValidationError):
        fits(f"log.{name}", {**payload, "type": "order.lost"})


@pytest.mark.parametrize("line", PUBLIC, ids=lambda line: orjson.loads(line)["type"])
def test_what_webhooks_are_sent_fits(line: bytes) -> None:
    payload = orjson.loads(line)
    fits(f"webhook.{payload['type']}", payload)
    with pytest.raises(jsonschema_rs.ValidationError):
        fits(f"webhook.{payload['type']}", {**payload, "data": {}})


@pytest.mark.parametrize("kind", HEARD)
def test_what_a_client_in_a_room_is_told_fits(kind: Any) -> None:
    told_of = get_type_hints(kind)
    hints = {name: hint for name, hint in told_of.items() if name not in ("type", "client_id")}
    more = {"client_id": "c-1"} if "client_id" in told_of else {}
    frame = orjson.loads(told(kind(**{name: SAMPLES[hint] for name, hint in hints.items()}, **more)))
    fits(f"frame.{frame['type']}", frame)
    with pytest.raises(jsonschema_rs.ValidationError):
        fits(f"frame.{frame['type']}", {**frame, "type": "told"})


def test_what_there_is_none_of_is_left_out() -> None:
    frame = orjson.loads(told(told_frames.ErrorFrame(code="invalid")))
    assert frame == {"type": "error", "code": "invalid"}
    fits("frame.error", frame)


def test_what_happens_in_a_room_fits() -> None:
    frames = [orjson.loads(frame_of(Followed(event))) for event in Story().events if event.stream_id == ROOM]
    assert [frame["type"] for frame in frames] == ["joined", "joined", "message", "message"]
    for frame in frames:
        fits(f"frame.{frame['type']}", frame)


def test_what_happens_to_an_order_fits() -> None:
    order = None
    for event in Story().events:
        if event.category == "order":
            order = ORDER_SUMMARY.project(order, event)
            fits("order.change", orjson.loads(change_of(order, event)))
    fits("stream.end", orjson.loads(orjson.dumps(StreamEnd(reason="closed"))))

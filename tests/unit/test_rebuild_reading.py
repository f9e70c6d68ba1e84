"""Pages of the log as COPY writes them, cut into events."""

from dataclasses import fields, replace
from typing import Any

import orjson
import pytest

from domain.messages import Event
from domain.orders import OrderPaid, OrderPlaced
from domain.registry import EVENTS, NAMES
from infra.codec import MalformedEvent, UnknownEventType, encode
from projections.all import PROJECTIONS
from projections.daily_revenue import DAILY_REVENUE
from projections.declaration import Projection
from projections.order_summary import ORDER_SUMMARY
from projections.rebuild.reading import Line, Readers, Unopened, cut, last_line, unopened
from tests.builders import ORDER_ID, order_placed, order_shipped
from tests.golden.expected import EXPECTED
from tests.unit.test_projections import record

SHIPPED = encode(order_shipped()).data.decode()


def line(data: str, *, type: str = "order.shipped", version: int = 2, schema_version: int = 1) -> bytes:
    """An event as COPY writes it: a backslash is two."""
    texts = (ORDER_ID, 41, version, type, schema_version, "2026-11-22 12:00:00.25+00", data)
    return "\t".join(str(text).replace("\\", "\\\\") for text in texts).encode() + b"\n"


def read(cut_line: Line, projection: Projection[Any] = ORDER_SUMMARY) -> Any:
    _, make = Readers(projection)[cut_line[3], cut_line[4]]
    return make(cut_line[6])


def test_an_event_is_cut_into_what_was_written_of_it() -> None:
    (shipped,) = cut(line(SHIPPED))
    texts = (str(ORDER_ID), "41", "2", "order.shipped", "1", "2026-11-22 12:00:00.25+00")
    assert shipped[:6] == tuple(text.encode() for text in texts)
    assert read(shipped) == order_shipped()


@pytest.mark.parametrize(
    "carrier", ['"quoted"', "back\\slash", "\t\n\r\b", "\x85\u2028", "\\N", "\\\\", "Größe 😀", "a\\tb"]
)
def test_every_text_comes_as_it_was(carrier: str) -> None:
    shipped = orjson.loads(SHIPPED)
    block = b"".join(line(orjson.dumps(shipped | {"carrier": each}).decode()) for each in ("before", carrier, "behind"))
    assert [read(each).carrier for each in cut(block)] == ["before", carrier, "behind"]


def test_what_a_read_model_leaves_unopened_is_not_needed() -> None:
    (paid,) = cut(line("null", type="order.paid"))
    event = read(paid)
    assert isinstance(event, OrderPaid)
    with pytest.raises(Unopened):
        _ = event.amount
    with pytest.raises(MalformedEvent):
        read(paid, DAILY_REVENUE)


def test_json_that_only_postgres_takes_for_json_spoils_no_other_event() -> None:
    one, spoiled, other = cut(line(SHIPPED) + line('{"carrier": 1e400}') + line(SHIPPED))
    assert read(one) == read(other) == order_shipped()
    with pytest.raises(MalformedEvent):
        read(spoiled)


@pytest.mark.parametrize(("type", "schema_version"), [("order.praised", 1), ("order.shipped", 9), ("order.paid", 9)])
def test_an_event_of_a_newer_release_is_unknown(type: str, schema_version: int) -> None:
    (newer,) = cut(line("null", type=type, schema_version=schema_version))
    with pytest.raises(UnknownEventType):
        read(newer)


def test_a_page_goes_on_behind_its_last_event() -> None:
    lines = [line("{}", version=version) for version in (1, 2, 3)]
    assert last_line([lines[0], b"".join(lines[1:])])[2] == b"3"
    assert last_line([lines[0]])[2] == b"1"


def test_an_event_that_was_not_opened_tells_nothing_but_its_class() -> None:
    closed: Any = unopened(type(order_placed()))
    assert isinstance(closed, OrderPlaced)
    for each in fields(OrderPlaced):
        with pytest.raises(Unopened):
            getattr(closed, each.name)


def newest(kind: type[Event]) -> Event:
    return EXPECTED[NAMES[kind], EVENTS[NAMES[kind]].version]


@pytest.mark.parametrize("projection", PROJECTIONS.values(), ids=lambda projection: projection.name)
def test_a_read_model_does_not_look_into_events_that_it_leaves_unopened(projection: Projection[Any]) -> None:
    begun = None
    for kind in projection.begins:
        begun = projection.project(None, record(newest(kind), 1, 1))
    assert projection.unopened <= projection.handles
    for kind in projection.unopened:
        happened = replace(record(newest(kind), 2, 2), data=unopened(kind))
        projection.key(happened)
        projection.project(begun, happened)

"""Events read late are the events that are read at once."""

from dataclasses import fields, replace
from typing import Any

import orjson
import pytest

from domain.messages import Event
from domain.orders import OrderPlaced
from domain.registry import EVENTS, NAMES
from infra.codec import MalformedEvent, UnknownEventType, decode, dumps, encode
from infra.late_codec import Unopened, late_reader, unopened
from projections.all import PROJECTIONS
from projections.declaration import Projection
from tests.builders import order_placed
from tests.golden.expected import EXPECTED
from tests.unit.test_projections import record


def late(event: Event) -> Event:
    encoded = encode(event)
    return late_reader(encoded.type, encoded.schema_version)(orjson.loads(encoded.data))


@pytest.mark.parametrize("event", EXPECTED.values(), ids=lambda event: NAMES[type(event)])
def test_every_event_has_the_same_fields(event: Event) -> None:
    read = late(event)
    for each in fields(event):
        assert getattr(read, each.name) == getattr(event, each.name)
        assert getattr(read, each.name) is getattr(read, each.name), "made once"


def test_an_event_read_late_matches_its_class() -> None:
    match late(order_placed()):
        case OrderPlaced(order_no=number):
            assert number == order_placed().order_no
        case _:
            pytest.fail("it does not")


def test_a_field_that_nobody_looks_at_is_not_made() -> None:
    read = late_reader("order.shipped", 1)({"order_id": "not an id", "carrier": "DHL"})
    assert read.carrier == "DHL"  # type: ignore[attr-defined]
    with pytest.raises(MalformedEvent):
        _ = read.order_id  # type: ignore[attr-defined]


def test_a_field_that_is_missing_is_an_error_when_it_is_looked_at() -> None:
    read: Any = late_reader("order.shipped", 1)({"carrier": "DHL"})
    with pytest.raises(MalformedEvent):
        _ = read.tracking_no


def test_a_field_that_was_added_since_has_its_default() -> None:
    read: Any = late_reader("account.registered", 1)({"username": "ada"})
    assert (read.username, read.language) == ("ada", None)
    read = late_reader("account.registered", 1)({"username": "ada", "language": "de"})
    assert read.language == "de"


@pytest.mark.parametrize(("name", "version"), [("order.praised", 1), ("order.placed", 0), ("order.placed", 99)])
def test_an_event_of_a_newer_release_is_unknown(name: str, version: int) -> None:
    with pytest.raises(UnknownEventType):
        late_reader(name, version)


def test_every_stored_name_can_be_read_late() -> None:
    for name, kind in EVENTS.items():
        assert issubclass(type(late_reader(name, kind.version)({})), kind.cls)


@pytest.mark.parametrize("data", [None, "text", [], 7])
def test_what_is_no_object_is_malformed(data: Any) -> None:
    with pytest.raises(MalformedEvent):
        late_reader("order.shipped", 1)(data)


def parts(event: Event) -> list[Any]:
    """What an order is made of: parts of an event, and parts of those."""
    placed: Any = event
    return [placed.total, placed.shipping_address, *placed.lines, *[line.unit_price for line in placed.lines]]


def test_a_part_read_late_is_equal_to_one_that_was_read_at_once() -> None:
    for one, other in zip(parts(late(order_placed())), parts(order_placed()), strict=True):
        assert one == other
        assert other == one
        assert hash(one) == hash(other)
        assert repr(one) == repr(other)


def test_a_part_read_late_is_unequal_to_another() -> None:
    one, line = parts(late(order_placed())), parts(order_placed())[2]
    assert one[2] != replace(line, quantity=line.quantity + 1)
    assert replace(line, quantity=line.quantity + 1) != one[2]
    assert one[0] != one[1]


def test_a_part_read_late_is_written_as_it_stood_whether_or_not_it_was_looked_into() -> None:
    encoded = encode(order_placed())
    for one, other in zip(parts(late(order_placed())), parts(decode(*encoded)), strict=True):
        assert dumps(one) == dumps(other)
        assert one == other, "a look at each field"
        assert dumps(one) == dumps(other)


def test_a_part_of_another_release_is_written_as_one_that_was_read_at_once() -> None:
    encoded = encode(order_placed())
    stored = orjson.loads(encoded.data)
    del stored["shipping_address"]["region"]
    stored["total"]["rounded"] = True
    read: Any = late_reader("order.placed", 1)(orjson.loads(orjson.dumps(stored)))
    at_once: Any = decode("order.placed", 1, orjson.dumps(stored))
    assert dumps(read.shipping_address) == dumps(at_once.shipping_address)
    assert dumps(read.total) == dumps(at_once.total)


@pytest.mark.parametrize("total", [None, 7, {}, {"amount": "x", "currency": "EUR"}])
def test_a_malformed_part_is_an_error_when_it_is_looked_into(total: Any) -> None:
    read: Any = late_reader("order.placed", 1)({"total": total})
    with pytest.raises(MalformedEvent):
        _ = read.total.amount


def test_an_event_that_was_not_opened_tells_nothing_but_its_class() -> None:
    closed: Any = unopened("order.placed", 1)
    assert isinstance(closed, OrderPlaced)
    for each in fields(OrderPlaced):
        with pytest.raises(Unopened):
            getattr(closed, each.name)
    with pytest.raises(UnknownEventType):
        unopened("order.placed", 99)


@pytest.mark.parametrize("projection", PROJECTIONS.values(), ids=lambda projection: projection.name)
def test_a_read_model_does_not_look_into_events_that_it_leaves_unopened(projection: Projection[Any]) -> None:
    begun = None
    for kind in projection.begins:
        begun = projection.project(None, record(EXPECTED[NAMES[kind], EVENTS[NAMES[kind]].version], 1, 1))
    assert projection.unopened <= projection.handles
    for kind in projection.unopened:
        happened = replace(
            record(EXPECTED[NAMES[kind], 1], 2, 2), data=unopened(NAMES[kind], EVENTS[NAMES[kind]].version)
        )
        projection.key(happened)
        projection.project(begun, happened)

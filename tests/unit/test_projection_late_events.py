"""Events read late are the events that are read at once."""

from dataclasses import fields
from typing import Any

import pytest

from domain.messages import Event
from domain.orders import OrderPlaced
from domain.registry import EVENTS, NAMES
from infra.codec import MalformedEvent, UnknownEventType, encode
from infra.late_codec import late_reader
from tests.builders import order_placed
from tests.golden.expected import EXPECTED


def late(event: Event) -> Event:
    encoded = encode(event)
    return late_reader(encoded.type, encoded.schema_version)(encoded.data)


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
    read = late_reader("order.shipped", 1)(b'{"order_id": "not an id", "carrier": "DHL"}')
    assert read.carrier == "DHL"  # type: ignore[attr-defined]
    with pytest.raises(MalformedEvent):
        _ = read.order_id  # type: ignore[attr-defined]


def test_a_field_that_is_missing_is_an_error_when_it_is_looked_at() -> None:
    read: Any = late_reader("order.shipped", 1)(b'{"carrier": "DHL"}')
    with pytest.raises(MalformedEvent):
        _ = read.tracking_no


def test_a_field_that_was_added_since_has_its_default() -> None:
    read: Any = late_reader("account.registered", 1)(b'{"username": "ada"}')
    assert (read.username, read.language) == ("ada", None)
    read = late_reader("account.registered", 1)(b'{"username": "ada", "language": "de"}')
    assert read.language == "de"


@pytest.mark.parametrize(("name", "version"), [("order.praised", 1), ("order.placed", 0), ("order.placed", 99)])
def test_an_event_of_a_newer_release_is_unknown(name: str, version: int) -> None:
    with pytest.raises(UnknownEventType):
        late_reader(name, version)


def test_every_stored_name_can_be_read_late() -> None:
    for name, kind in EVENTS.items():
        assert issubclass(type(late_reader(name, kind.version)(b"{}")), kind.cls)

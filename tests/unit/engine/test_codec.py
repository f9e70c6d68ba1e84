"""Events to JSON and back, exactly, across releases."""

from dataclasses import MISSING, dataclass, fields
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson
import pytest
from asyncpg.pgproto import pgproto
from hypothesis import given, settings

from domain.kernel.event_registry import EventType
from domain.kernel.messages import Event
from domain.money import Money
from domain.registry import EVENTS, REGISTRY
from infra.event_codec import CODEC
from infra.eventsourcing.codec import MalformedEvent, UnknownEventType, reader, versioned_reader
from tests.golden.expected import EXPECTED
from tests.support.any_value import any_of, exactly
from tests.support.builders import (
    ORDER_ID,
    account_registered,
    order_cancelled,
    order_paid,
    order_placed,
    order_shipped,
    product_added,
    stock_received,
)

CLASSES = {cls: any_of(cls) for cls in REGISTRY.names}


@pytest.mark.parametrize("cls", CLASSES, ids=REGISTRY.names.get)
def test_every_event_is_read_as_it_was_written(cls: type[Event]) -> None:
    @settings(max_examples=25)
    @given(CLASSES[cls])
    def holds(event: Event) -> None:
        back = CODEC.decode(*CODEC.encode(event))
        assert back == event
        assert repr(back) == repr(event)
        assert exactly(back) == exactly(event)
        assert CODEC.encode(back).data == CODEC.encode(event).data

    holds()


def test_an_event_is_stored_under_its_name_in_its_newest_version() -> None:
    stored = CODEC.encode(order_shipped())
    assert (stored.type, stored.schema_version) == ("order.shipped", 1)
    assert orjson.loads(stored.data)["carrier"] == "DHL"


def test_the_json_is_plain() -> None:
    stored = orjson.loads(CODEC.encode(order_placed()).data)
    assert stored["order_id"] == str(ORDER_ID)
    assert stored["expires_at"] == "2096-11-22T12:30:00Z"
    assert stored["total"] == {"amount": "47.36", "currency": "EUR"}
    assert stored["lines"][0]["tax_rate"] == "0.19"
    assert orjson.loads(CODEC.encode(order_cancelled()).data)["by"] == "customer"


def test_a_decimal_is_written_without_an_exponent() -> None:
    for written, stored in (("1E+3", "1000"), ("1E-7", "0.0000001"), ("0E-7", "0.0000000")):
        event = product_added(price=Money(amount=Decimal(written), currency="EUR"))
        assert orjson.loads(CODEC.encode(event).data)["price"]["amount"] == stored


def test_an_id_may_come_from_a_row_of_the_driver() -> None:
    event = order_shipped(order_id=pgproto.UUID(str(ORDER_ID)))
    assert CODEC.encode(event) == CODEC.encode(order_shipped())


def test_ids_are_read_as_plain_uuids() -> None:
    back = CODEC.decode(*CODEC.encode(order_shipped()))
    assert type(back.order_id) is UUID  # type: ignore[attr-defined]
    assert back.order_id.is_safe is UUID(int=0).is_safe  # type: ignore[attr-defined]
    assert {back.order_id: 1}[ORDER_ID] == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("zone", [None, timezone(timedelta(hours=2))])
def test_a_time_that_is_not_utc_is_not_stored(zone: timezone | None) -> None:
    with pytest.raises(ValueError, match="expires_at is not in UTC"):
        CODEC.encode(order_placed(expires_at=datetime(2026, 11, 22, tzinfo=zone)))


def test_what_json_cannot_hold_is_not_stored() -> None:
    with pytest.raises(TypeError):
        CODEC.encode(order_shipped(carrier=b"DHL"))


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_a_text_that_is_none_is_not_stored(text: str) -> None:
    with pytest.raises(TypeError):
        CODEC.encode(order_shipped(carrier=text))


@pytest.mark.parametrize("quantity", [2**53 + 1, 2**63 - 1, -(2**63)])
def test_whole_numbers_are_exact(quantity: int) -> None:
    assert CODEC.decode(*CODEC.encode(stock_received(quantity))) == stock_received(quantity)


@pytest.mark.parametrize("quantity", [2**64, -(2**63) - 1])
def test_a_number_that_no_column_could_hold_is_not_stored(quantity: int) -> None:
    with pytest.raises(TypeError):
        CODEC.encode(stock_received(quantity))


@pytest.mark.parametrize(
    ("name", "version"), [("order.teleported", 1), ("order.shipped", 2), ("order.shipped", 0), ("", 1)]
)
def test_an_unknown_name_or_version_is_not_guessed(name: str, version: int) -> None:
    with pytest.raises(UnknownEventType) as unknown:
        CODEC.decode(name, version, b"{}")
    assert (unknown.value.type, unknown.value.schema_version) == (name, version)


@pytest.mark.parametrize("name", EVENTS)
def test_a_missing_field_is_malformed_unless_it_has_a_default(name: str) -> None:
    payload = orjson.loads(CODEC.encode(EXPECTED[name, EVENTS[name].version]).data)
    for field in {each.name for each in fields(EVENTS[name].cls) if each.default is MISSING}:
        with pytest.raises(MalformedEvent):
            CODEC.decode(
                name, EVENTS[name].version, orjson.dumps({key: payload[key] for key in payload if key != field})
            )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("order_id", "not an id"),
        ("order_id", 7),
        ("expires_at", "yesterday"),
        ("total", {"amount": "x", "currency": "EUR"}),
        ("total", None),
        ("lines", 5),
        ("lines", [{}]),
        ("lines", {}),
        ("order_no", 7),
        ("order_no", None),
        ("expires_at", "2026-11-22"),
        ("expires_at", 1795350600),
        ("shipping_address", {"name": "Ada"}),
    ],
)
def test_a_value_of_another_kind_is_malformed(field: str, value: object) -> None:
    payload = orjson.loads(CODEC.encode(order_placed()).data)
    with pytest.raises(MalformedEvent):
        CODEC.decode("order.placed", 1, orjson.dumps(payload | {field: value}))


@pytest.mark.parametrize("quantity", ["2", 2.5, 2.0, True, None, [2]])
def test_only_a_whole_number_is_read_as_one(quantity: object) -> None:
    payload = orjson.loads(CODEC.encode(stock_received()).data)
    with pytest.raises(MalformedEvent):
        CODEC.decode("stock.received", 1, orjson.dumps(payload | {"quantity": quantity}))


def test_an_error_does_not_tell_what_the_payload_says() -> None:
    payload = orjson.loads(CODEC.encode(account_registered()).data)
    for wrong in ({"email": ["ada@example.org"]}, {"account_id": "ada@example.org"}):
        with pytest.raises(MalformedEvent) as malformed:
            CODEC.decode("account.registered", 1, orjson.dumps(payload | wrong))
        assert "ada@" not in str(malformed.value).lower()
    broken = CODEC.encode(account_registered()).data.replace(b"Ada@", b"ada@\xff")
    with pytest.raises(MalformedEvent) as malformed:
        CODEC.decode("account.registered", 1, broken)
    assert "ada@" not in str(malformed.value).lower()


DEEP = b'{"gift": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"null", b"7", b'"x"', DEEP])
def test_what_is_no_json_object_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedEvent):
        CODEC.decode("order.shipped", 1, payload)


def test_a_field_that_a_newer_release_added_is_left_out() -> None:
    payload = orjson.loads(CODEC.encode(order_paid()).data)
    payload["gift"] = True
    payload["lines"][0]["colour"] = "blue"
    assert CODEC.decode("order.paid", 1, orjson.dumps(payload)) == order_paid()


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class Pot(Event):
    colour: Colour = Colour.RED
    size: int = 4


def test_a_field_added_with_a_default_is_filled_in() -> None:
    read = reader(Pot)
    assert read({}) == Pot()
    assert read({"size": 6}) == Pot(size=6)
    assert read({"size": 6, "colour": "red", "lid": True}) == Pot(size=6)


def _sized(payload: dict[str, Any]) -> dict[str, Any]:
    return {"colour": payload["colour"], "cups": payload["cups"] * 2}


def _renamed(payload: dict[str, Any]) -> dict[str, Any]:
    return {"colour": payload["colour"], "size": payload["cups"]}


def test_upcasters_lead_from_each_stored_version_to_the_newest() -> None:
    kind = EventType(cls=Pot, version=3, upcasters={1: _sized, 2: _renamed})
    assert versioned_reader(kind, 1)(b'{"colour": "red", "cups": 2}') == Pot(size=4)
    assert versioned_reader(kind, 2)(b'{"colour": "red", "cups": 3}') == Pot(size=3)
    assert versioned_reader(kind, 3)(b'{"colour": "red", "size": 5}') == Pot(size=5)

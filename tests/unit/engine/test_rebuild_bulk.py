"""The fold of a rebuild over stored JSON makes the documents of the fold over events, or leaves it to that."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from domain.accounts import AccountErased, AccountProfileChanged
from domain.kernel.messages import Event, Recorded
from domain.registry import REGISTRY
from infra.event_codec import CODEC
from infra.eventsourcing.codec import Encoded, UnknownEventType
from infra.eventsourcing.projections.fold_table import Folds
from infra.eventsourcing.projections.projection import Projection, RowMissing
from infra.eventsourcing.projections.rebuild.bulk_fold import Steps, document
from projections.account_card import ACCOUNT_CARD
from projections.order_summary import ORDER_SUMMARY
from tests.golden.expected import EXPECTED
from tests.support.builders import ACCOUNT_ID, account_registered, order_placed, order_shipped
from tests.unit.shop.test_projections import record

AT = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)
TABLES: Sequence[Projection[Any]] = (ORDER_SUMMARY, ACCOUNT_CARD)
BEGUN: Mapping[str, Event] = {"order_summary": order_placed(), "account_card": account_registered()}


def step(projection: Projection[Any], row: Any, name: str, data: bytes, version: int = 1) -> Any:
    assert isinstance(projection.project, Folds)
    return Steps(projection.project, REGISTRY)[name, version](row, AT, data)


def stored(event: Event) -> Encoded:
    """As ``jsonb`` keeps it: of an object's names the shortest first."""
    written = CODEC.encode(event)
    return written._replace(data=orjson.dumps(sorted_names(orjson.loads(written.data))))


def sorted_names(value: Any) -> Any:
    match value:
        case dict():
            return {name: sorted_names(value[name]) for name in sorted(value, key=lambda name: (len(name), name))}
        case list():
            return [sorted_names(each) for each in value]
        case _:
            return value


def bulk(projection: Projection[Any], *events: Event) -> bytes:
    row = None
    for version, event in enumerate(events, 1):
        name, schema_version, data = stored(event)
        row = step(projection, row, name, data, schema_version)
        if row is not None:
            row.version = version
    return b"" if row is None else document(row)


def plain(projection: Projection[Any], *events: Event) -> bytes:
    row = None
    for version, event in enumerate(events, 1):
        row = projection.project(row, amended(record(CODEC.decode(*stored(event)), version, version)))
    return b"" if row is None else projection.document(row)


def amended(event: Recorded) -> Recorded:
    return replace(event, recorded_at=AT)


@pytest.mark.parametrize("projection", TABLES, ids=lambda projection: projection.name)
def test_every_event_makes_the_same_document(projection: Projection[Any]) -> None:
    begun = BEGUN[projection.name]
    for event in [each for each in EXPECTED.values() if type(each) in projection.handles]:
        for told in ([begun, event], [begun, event, event], [event] if type(event) in projection.creates else []):
            assert bulk(projection, *told) == plain(projection, *told), REGISTRY.names[type(event)]


def test_who_was_erased_is_not_brought_back() -> None:
    erased = [account_registered(), AccountErased(account_id=ACCOUNT_ID)]
    late = AccountProfileChanged(account_id=ACCOUNT_ID, full_name="Ada", bio=None)
    assert bulk(ACCOUNT_CARD, *erased, late) == plain(ACCOUNT_CARD, *erased, late) == b""


def placed(**changes: Any) -> bytes:
    return orjson.dumps(orjson.loads(CODEC.encode(order_placed()).data) | changes)


def without(data: bytes, field: str) -> bytes:
    said = orjson.loads(data)
    del said[field]
    return orjson.dumps(said)


@pytest.mark.parametrize(
    "data",
    [
        placed(total=7),
        placed(total={"amount": "1.00"}),
        placed(total={"amount": "x", "currency": "EUR"}),
        placed(total={"amount": "1e3", "currency": "EUR"}),
        placed(order_no=None),
        placed(order_id="not an id"),
        placed(lines=[{}]),
        placed(shipping_address={"name": "of an older release"}),
        without(placed(), "order_no"),
        b"null",
        b'{"total": 1e400}',
    ],
)
def test_what_does_not_stand_as_a_consumer_would_write_it_is_left_to_the_plain_fold(data: bytes) -> None:
    with pytest.raises(Exception, match=r".+"):
        step(ORDER_SUMMARY, None, "order.placed", data)


def test_what_a_newer_release_has_added_to_a_part_is_not_written() -> None:
    row = step(ORDER_SUMMARY, None, "order.placed", placed(total={"amount": "1.00", "currency": "EUR", "round": True}))
    assert orjson.loads(document(row))["total"] == {"amount": "1.00", "currency": "EUR"}


@pytest.mark.parametrize(("name", "version"), [("order.praised", 1), ("order.shipped", 9)])
def test_an_event_of_another_release_is_left_to_the_plain_fold(name: str, version: int) -> None:
    with pytest.raises(UnknownEventType):
        step(ORDER_SUMMARY, None, name, b"{}", version)


def test_an_event_without_a_row_is_an_error_where_rows_do_not_end() -> None:
    with pytest.raises(RowMissing):
        step(ORDER_SUMMARY, None, "order.shipped", CODEC.encode(order_shipped()).data)

"""The fold of a batch: what fails takes down its own stream, and nothing else."""

from dataclasses import replace
from errno import EMFILE
from typing import Any
from uuid import UUID

import pytest

from domain.kernel.messages import Event, Recorded
from domain.orders import OrderPlaced
from domain.orders.payment_deadline import ORDER_TIME
from infra.event_codec import CODEC
from infra.eventsourcing.codec import UnknownEventType
from infra.eventsourcing.consumers.consumer import is_away, is_poison
from infra.eventsourcing.event_log import Entry
from infra.eventsourcing.process_managers.state import turn_all
from infra.eventsourcing.projections.fold import Kept, fold
from infra.eventsourcing.projections.projection import Projection, amend
from projections.order_summary import ORDER_SUMMARY, OrderSummary
from projections.product_card import PRODUCT_CARD
from tests.support.builders import (
    ORDER_ID,
    OTHER_ORDER_ID,
    PRODUCT_ID,
    order_paid,
    order_placed,
    order_shipped,
    product_added,
)
from tests.unit.shop.test_projections import record
from workers.mail.due_mails import follow_up as mails_of
from workers.webhooks.owed import follow_up as deliveries_of


class Happened(Entry):
    """An entry that is decoded already."""

    __slots__ = ()

    def __init__(self, event: Event, position: int, stream: UUID = ORDER_ID) -> None:
        super().__init__(None, CODEC.decode, position, 0, 0, stream, "thing.happened")
        self._decoded = replace(record(event, position, position), stream_id=stream)


class Undecodable(Entry):
    """One that nobody can read."""

    __slots__ = ("_why",)

    def __init__(self, why: Exception, position: int, stream: UUID = ORDER_ID) -> None:
        super().__init__(None, CODEC.decode, position, 0, 0, stream, "thing.happened")
        self._why = why

    def recorded(self) -> Recorded:
        raise self._why


def other(event: OrderPlaced, position: int) -> Entry:
    return Happened(event, position, OTHER_ORDER_ID)


PLACED = order_placed()
PAID = order_paid()
OTHER_PLACED = order_placed(order_id=OTHER_ORDER_ID)


def test_rows_are_folded_over_what_is_there() -> None:
    row = ORDER_SUMMARY.project(None, record(PLACED, 1, 1))
    folded = fold(
        ORDER_SUMMARY, {str(ORDER_ID): Kept(1, row)}, set(), [Happened(PAID, 5), Happened(order_shipped(), 9)]
    )
    assert folded.kept[str(ORDER_ID)].position == 9
    assert folded.kept[str(ORDER_ID)].row.status == "shipped"
    assert [row.key for row in folded.written] == [str(ORDER_ID)]
    assert folded.written[0].version == 9


def test_an_event_that_fails_parks_its_stream_from_there() -> None:
    entries = [Happened(PLACED, 1), Undecodable(ValueError("broken"), 2), other(OTHER_PLACED, 3), Happened(PAID, 4)]
    folded = fold(ORDER_SUMMARY, {}, set(), entries)
    assert [(each.entry.position, each.error, each.unknown) for each in folded.failures] == [
        (2, "ValueError: broken", False)
    ]
    assert {key: kept.position for key, kept in folded.kept.items()} == {str(ORDER_ID): 1, str(OTHER_ORDER_ID): 3}
    assert folded.kept[str(ORDER_ID)].row.status == "pending"


def test_a_parked_stream_is_passed_over() -> None:
    folded = fold(ORDER_SUMMARY, {}, {ORDER_ID}, [Happened(PLACED, 1), other(OTHER_PLACED, 2)])
    assert list(folded.kept) == [str(OTHER_ORDER_ID)]
    assert folded.failures == []


def test_an_event_of_a_newer_release_is_told_from_a_broken_one() -> None:
    folded = fold(ORDER_SUMMARY, {}, set(), [Undecodable(UnknownEventType("order.praised", 1), 2)])
    assert folded.failures[0].unknown


def test_a_row_that_cannot_be_written_parks_the_event_that_made_it_so() -> None:
    def project(row: OrderSummary | None, event: Recorded) -> OrderSummary | None:
        after = ORDER_SUMMARY.project(row, event)
        unwritable: Any = object()
        return amend(after, order_no=unwritable) if after and after.status == "paid" else after

    broken: Projection[Any] = amend(ORDER_SUMMARY, project=project)
    entries = [Happened(PLACED, 1), other(OTHER_PLACED, 2), Happened(PAID, 3), Happened(order_shipped(), 4)]
    folded = fold(broken, {}, set(), entries)
    assert [each.entry.position for each in folded.failures] == [3]
    assert {row.key: row.position for row in folded.written} == {str(ORDER_ID): 1, str(OTHER_ORDER_ID): 2}


def test_a_row_that_is_folded_away_is_to_be_deleted() -> None:
    vanishing: Projection[Any] = amend(ORDER_SUMMARY, project=lambda *_: None)
    folded = fold(vanishing, {}, set(), [Happened(PLACED, 3)])
    assert [(row.position, row.document) for row in folded.written] == [(3, b"")]


def test_a_stream_that_is_applied_late_does_not_put_its_row_back() -> None:
    row = PRODUCT_CARD.project(None, record(product_added(), 1, 1))
    folded = fold(PRODUCT_CARD, {str(PRODUCT_ID): Kept(50, row)}, set(), [Happened(product_added(), 7)])
    assert folded.kept[str(PRODUCT_ID)].position == 50


def test_an_error_is_kept_short() -> None:
    folded = fold(ORDER_SUMMARY, {}, set(), [Undecodable(ValueError("x" * 10_000), 2)])
    assert len(folded.failures[0].error) == 2_000


@pytest.mark.parametrize("fault", [MemoryError(), OSError(EMFILE, "")], ids=repr)
def test_a_process_that_has_run_out_of_something_sets_no_stream_aside(fault: Exception) -> None:
    entries = [Undecodable(fault, 1)]
    with pytest.raises(type(fault)):
        fold(ORDER_SUMMARY, {}, set(), entries)
    with pytest.raises(type(fault)):
        mails_of(entries, {}, set())
    with pytest.raises(type(fault)):
        deliveries_of(entries, {}, set())
    with pytest.raises(type(fault)):
        turn_all(ORDER_TIME, {}, entries, set())
    assert not is_poison(fault)
    assert is_away(fault)  # what is remembered is let go, which may be all that is needed


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit])
def test_only_errors_park(fault: type[BaseException]) -> None:
    def project(*_: object) -> None:
        raise fault

    stopped: Projection[Any] = amend(ORDER_SUMMARY, project=project)
    with pytest.raises(fault):
        fold(stopped, {}, set(), [Happened(PLACED, 1)])

"""Who hears of what: by the log's one order, and no more than the owner of a webhook may."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from msgspec import Raw

from domain.accounts import (
    AccountActivated,
    AccountDeactivated,
    AccountErased,
    AccountRolesChanged,
    Role,
)
from domain.kernel.messages import Event
from domain.webhooks import (
    DeactivatedBy,
    WebhookActivated,
    WebhookChanged,
    WebhookDeactivated,
    WebhookDeleted,
    WebhookRegistered,
    WebhookSecretRotated,
)
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import Entry, Published
from infra.webhooks.subscribers import Signer, Subscriber
from tests.support.builders import order_paid, order_placed
from workers.webhooks.owed import FollowUp, follow_up

WEBHOOK, ACCOUNT, SECRET, OTHER_SECRET, ORDER = (UUID(int=number) for number in range(1, 6))
NAMES: dict[str, Any] = {"webhook_id": WEBHOOK, "account_id": ACCOUNT}
NOON = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)

REGISTERED = WebhookRegistered(
    url="https://hooks.example/", event_types=("order.paid",), description=None, secret_id=SECRET, **NAMES
)
DEACTIVATED = WebhookDeactivated(by=DeactivatedBy.OWNER, **NAMES)
PAID, PLACED = order_paid(), order_placed()


def happened(*events: Event, stream: UUID = ORDER, type: str | None = None) -> FollowUp:
    """What follows from these, from the beginning of the log."""
    return follow_up([entry(place, event, stream, type) for place, event in enumerate(events, 1)], {}, set())


def entry(position: int, event: Event, stream: UUID, type: str | None = None) -> Entry:
    encoded = CODEC.encode(event)
    published = Published(
        position=position,
        prev=position - 1,
        stream_id=stream,
        version=position,
        category=encoded.type.partition(".")[0],
        shard=0,
        type=type or encoded.type,
        schema_version=encoded.schema_version,
        data=Raw(encoded.data),
        metadata={"correlation": "req-7"},
        recorded_at=NOON + timedelta(seconds=position),
    )
    return Entry(published, CODEC.decode, position, position - 1, 0, stream, published.type)


def owed(*events: Event) -> list[int]:
    """The positions of what is owed."""
    return [each.position for each in happened(*events).owed]


def test_a_webhook_hears_of_what_it_asked_for_from_its_registration_on() -> None:
    assert owed(PAID, REGISTERED, PLACED, PAID) == [4]


def test_what_is_owed_is_the_public_shape_and_not_what_is_stored() -> None:
    (each,) = happened(REGISTERED, PAID).owed
    told = orjson.loads(each.body)
    assert told.keys() == {"type", "timestamp", "data"}
    assert (told["type"], told["timestamp"]) == ("order.paid", "2026-11-29T12:00:02Z")
    assert "payment_id" not in told["data"]
    assert (each.webhook_id, each.stream_id, each.correlation) == (WEBHOOK, ORDER, "req-7")


def test_a_change_counts_from_where_it_stands() -> None:
    changed = WebhookChanged(url="https://b.example/", event_types=("order.placed",), description=None, **NAMES)
    assert owed(REGISTERED, PAID, changed, PAID, PLACED) == [2, 5]


STOPS: list[tuple[Event, Event]] = [
    (DEACTIVATED, WebhookActivated(**NAMES)),
    (AccountDeactivated(account_id=ACCOUNT), AccountActivated(account_id=ACCOUNT)),
    (
        AccountRolesChanged(account_id=ACCOUNT, roles=(Role.CUSTOMER,)),
        AccountRolesChanged(account_id=ACCOUNT, roles=(Role.STAFF,)),
    ),
]


@pytest.mark.parametrize(("stop", "again"), STOPS, ids=lambda event: type(event).__name__)
def test_a_webhook_that_is_stopped_hears_nothing_until_it_goes_on(stop: Event, again: Event) -> None:
    result = happened(REGISTERED, PAID, stop, PAID, again, PAID)
    assert [each.position for each in result.owed] == [2, 6]
    assert result.deaf == {WEBHOOK: 3}, "what it was owed by then is dropped"


def test_who_is_locked_and_degraded_hears_nothing_when_only_one_of_it_ends() -> None:
    locked, degraded = STOPS[1], STOPS[2]
    assert owed(REGISTERED, locked[0], degraded[0], locked[1], PAID, degraded[1], PAID) == [7]


@pytest.mark.parametrize("end", [WebhookDeleted(**NAMES), AccountErased(account_id=ACCOUNT)])
def test_with_its_end_all_of_a_webhook_goes(end: Event) -> None:
    result = happened(REGISTERED, PAID, end, PAID)
    assert result.owed == []
    assert result.changed == {WEBHOOK: None}


def test_of_another_account_a_webhook_knows_nothing() -> None:
    assert owed(REGISTERED, AccountErased(account_id=UUID(int=99)), PAID) == [3]


def test_an_old_secret_signs_for_a_day() -> None:
    result = happened(REGISTERED, WebhookSecretRotated(secret_id=OTHER_SECRET, **NAMES))
    subscriber = result.changed[WEBHOOK]
    assert isinstance(subscriber, Subscriber)
    at = NOON + timedelta(seconds=2)
    assert subscriber.signers == (Signer(OTHER_SECRET), Signer(SECRET, at + timedelta(hours=24)))


def test_however_often_a_secret_is_rotated_few_sign() -> None:
    rotations = [WebhookSecretRotated(secret_id=UUID(int=number), **NAMES) for number in range(100, 110)]
    subscriber = happened(REGISTERED, *rotations).changed[WEBHOOK]
    assert isinstance(subscriber, Subscriber)
    assert [signer.secret_id.int for signer in subscriber.signers] == [109, 108, 107, 106]


def test_an_event_that_cannot_be_read_holds_its_stream_alone() -> None:
    entries = [
        entry(1, REGISTERED, WEBHOOK),
        entry(2, PAID, ORDER, "order.strange"),
        entry(3, PAID, ORDER),
        entry(4, PAID, UUID(int=77)),
    ]
    result = follow_up(entries, {}, set())
    assert [each.position for each in result.owed] == [4]
    (failure,) = result.failures
    assert (failure.entry.position, failure.unknown) == (2, True)

"""What the reactions consumer makes of events before it touches a database."""

from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest

from domain.accounts import AccountErased, AccountPasswordResetRequested, AccountUsernameChanged
from domain.kernel.messages import Event
from domain.registry import REGISTRY
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import Entry
from infra.identity.one_time_links import Purpose
from tests.support.builders import (
    ACCOUNT_ID,
    ORDER_ID,
    OTHER_ORDER_ID,
    account_registered,
    order_completed,
    order_placed,
    order_shipped,
    product_added,
)
from tests.support.current_log import LOG
from workers.mail.consumer import HANDLED
from workers.mail.due_mails import Erased, Linked, Recipient, follow_up

STRANGER = UUID("01890a5d-ac96-774b-bcce-b302099a80ff")
ERASED = AccountErased(account_id=ACCOUNT_ID)
ADA = Recipient(email="Ada@Example.org", username="Ada")


def at(position: int, event: Event | tuple[str, bytes], stream: UUID = ORDER_ID) -> Entry:
    """The event as the relay publishes it; or anything that calls itself an event."""
    name, version, data = CODEC.encode(event) if isinstance(event, Event) else (event[0], 1, event[1])
    fields = {
        "p": position,
        "v": position - 1,
        "s": stream,
        "n": 1,
        "c": name.partition(".")[0],
        "h": 0,
        "t": name,
        "u": version,
        "d": orjson.Fragment(data),
        "m": {"correlation": f"req-{position}"},
        "r": datetime(2026, 11, 22, tzinfo=UTC),
    }
    return LOG.entry(orjson.dumps(fields))


def test_a_mail_goes_to_the_address_that_is_known_and_carries_its_cause() -> None:
    result = follow_up([at(7, order_placed())], {ACCOUNT_ID: ADA}, set())
    (mail,) = result.mails
    assert (mail.position, mail.kind, mail.recipient) == (7, "order_confirmation", "Ada@Example.org")
    assert mail.correlation == "req-7"
    assert mail.context["username"] == "Ada"
    assert result.recipients == {}


def test_a_registration_and_an_order_in_one_batch_know_each_other() -> None:
    result = follow_up([at(1, account_registered(), ACCOUNT_ID), at(2, order_placed())], {}, set())
    assert result.recipients == {ACCOUNT_ID: ADA}
    assert [(mail.kind, mail.recipient) for mail in result.mails] == [
        ("verify_email", "Ada@Example.org"),
        ("order_confirmation", "Ada@Example.org"),
    ]


def test_a_mail_goes_to_the_address_of_its_own_moment() -> None:
    moved = account_registered(email="new@example.org")
    events = [at(5, order_placed()), at(6, moved, ACCOUNT_ID), at(7, order_shipped(), OTHER_ORDER_ID)]
    result = follow_up(events, {ACCOUNT_ID: ADA}, set())
    assert [mail.recipient for mail in result.mails] == ["Ada@Example.org", "new@example.org", "new@example.org"]


def test_a_mail_addresses_its_recipient_by_the_name_of_its_own_moment() -> None:
    renamed = AccountUsernameChanged(account_id=ACCOUNT_ID, username="Countess", username_key="countess")
    events = [at(5, order_placed()), at(6, renamed, ACCOUNT_ID), at(7, order_shipped(), OTHER_ORDER_ID)]
    result = follow_up(events, {ACCOUNT_ID: ADA}, set())
    assert [mail.context["username"] for mail in result.mails] == ["Ada", "Countess"]
    assert result.recipients == {ACCOUNT_ID: Recipient(email="Ada@Example.org", username="Countess")}


def test_a_mail_is_in_the_language_that_its_recipient_registered_with() -> None:
    events = [
        at(1, account_registered(language="de"), ACCOUNT_ID),
        at(2, AccountUsernameChanged(account_id=ACCOUNT_ID, username="Gräfin", username_key="gräfin"), ACCOUNT_ID),
        at(3, order_placed()),
    ]
    result = follow_up(events, {}, set())
    assert [mail.language for mail in result.mails] == ["de", "de"]
    assert result.recipients == {ACCOUNT_ID: Recipient(email="Ada@Example.org", username="Gräfin", language="de")}
    assert [mail.language for mail in follow_up([at(3, order_placed())], {ACCOUNT_ID: ADA}, set()).mails] == [None]


def test_an_erased_account_gets_no_mail_and_sets_no_stream_aside() -> None:
    events = [at(5, order_placed()), at(6, ERASED, ACCOUNT_ID), at(7, order_shipped())]
    result = follow_up(events, {ACCOUNT_ID: ADA}, set())
    assert [mail.kind for mail in result.mails] == ["order_confirmation"]
    assert result.failures == []
    assert result.recipients == {ACCOUNT_ID: None}
    assert result.erased == [Erased(account_id=ACCOUNT_ID, position=6, email="Ada@Example.org")]
    assert follow_up([at(8, order_placed(), OTHER_ORDER_ID)], {ACCOUNT_ID: None}, set()).mails == []


def test_mails_that_open_an_account_have_a_link_and_nothing_of_it_in_their_context() -> None:
    asked = AccountPasswordResetRequested(account_id=ACCOUNT_ID)
    result = follow_up([at(1, account_registered(), ACCOUNT_ID), at(2, asked, ACCOUNT_ID)], {}, set())
    verify, reset = result.mails
    assert result.links == [
        Linked(mail=verify, account_id=ACCOUNT_ID, purpose=Purpose.VERIFY_EMAIL, account_version=1),
        Linked(mail=reset, account_id=ACCOUNT_ID, purpose=Purpose.RESET_PASSWORD, account_version=1),
    ]
    assert verify.context == reset.context == {"username": "Ada"}
    assert follow_up([at(1, order_placed())], {ACCOUNT_ID: ADA}, set()).links == []


def test_an_order_of_nobody_sets_its_own_stream_aside_and_no_other() -> None:
    events = [
        at(1, order_placed(customer_id=STRANGER)),
        at(2, order_shipped(customer_id=STRANGER)),
        at(3, order_placed(), OTHER_ORDER_ID),
    ]
    result = follow_up(events, {ACCOUNT_ID: ADA}, set())
    assert [mail.position for mail in result.mails] == [3]
    assert [(parked.entry.position, parked.unknown) for parked in result.failures] == [(1, False)]
    assert "RecipientUnknown" in result.failures[0].error


def test_an_event_that_only_a_newer_release_knows_holds_its_stream() -> None:
    result = follow_up([at(1, ("order.gift_wrapped", b"{}")), at(2, order_shipped())], {ACCOUNT_ID: ADA}, set())
    assert result.mails == []
    assert [(parked.entry.position, parked.unknown) for parked in result.failures] == [(1, True)]


def test_a_malformed_event_sets_its_stream_aside() -> None:
    result = follow_up([at(1, ("order.placed", b"{}"))], {}, set())
    assert [parked.unknown for parked in result.failures] == [False]


def test_events_of_a_stream_that_is_parked_are_passed_over() -> None:
    result = follow_up([at(9, order_shipped())], {ACCOUNT_ID: ADA}, {ORDER_ID})
    assert (result.mails, result.failures) == ([], [])


@pytest.mark.parametrize("event", [order_completed(), product_added()])
def test_other_events_make_nothing_due(event: Event) -> None:
    result = follow_up([at(1, event)], {}, set())
    assert (result.mails, result.recipients, result.failures) == ([], {}, [])


def test_the_consumer_wants_what_it_folds_what_it_reacts_to_and_what_makes_rows_void() -> None:
    folded = {"account.registered", "account.username_changed", "account.erased"}
    reacted_to = {"order.placed", "order.paid", "order.shipped", "order.cancelled", "order.overpaid"}
    reacted_to |= {"account.password_reset_requested", "account.password_changed"}
    reacted_to |= {"account.email_verification_requested"}
    voiding = {"account.deactivated", "account.session_ended", "account.token_reused", "account.api_key_revoked"}
    voiding |= {"account.email_verified"}
    assert folded | reacted_to | voiding == {REGISTRY.names[kind] for kind in HANDLED}

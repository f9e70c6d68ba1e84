"""The account card as a fold: what is said of an account, through its whole life."""

from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import (
    ACCOUNTS,
    Account,
    AccountActivated,
    AccountApiKeyRevoked,
    AccountCommand,
    AccountDeactivated,
    AccountEmailVerified,
    AccountErased,
    AccountEvent,
    AccountPasswordChanged,
    AccountPasswordResetRequested,
    AccountProfileChanged,
    AccountRolesChanged,
    AccountSessionEnded,
    AccountTokenReused,
    AccountUsernameChanged,
    ActivateAccount,
    ChangePassword,
    ChangeProfile,
    ChangeRoles,
    ChangeUsername,
    DeactivateAccount,
    EndedBy,
    EndSession,
    EraseAccount,
    PasswordChangedBy,
    ReportTokenReuse,
    RequestPasswordReset,
    Role,
    VerifyEmail,
)
from domain.kernel.refusals import Refusal
from infra.eventsourcing.projections.fold import Kept, written
from projections.account_card import ACCOUNT_CARD, AccountCard
from tests.support.builders import ACCOUNT_ID, account_registered
from tests.unit.shop.test_projections import document, fold, record

REGISTERED = account_registered()
VERIFIED = AccountEmailVerified(account_id=ACCOUNT_ID, email="Ada@Example.org")
SAID = AccountProfileChanged(account_id=ACCOUNT_ID, full_name="Ada Lovelace", bio="Poet.\nMother.")
ERASED = AccountErased(account_id=ACCOUNT_ID)
SESSION = UUID(int=1)

QUIET: list[AccountEvent] = [
    AccountPasswordChanged(account_id=ACCOUNT_ID, by=PasswordChangedBy.RESET, kept_session=None),
    AccountPasswordResetRequested(account_id=ACCOUNT_ID),
    AccountSessionEnded(account_id=ACCOUNT_ID, session_id=SESSION, by=EndedBy.LOGOUT),
    AccountTokenReused(account_id=ACCOUNT_ID, session_id=SESSION),
    AccountApiKeyRevoked(account_id=ACCOUNT_ID, key_id=SESSION),
]
LOUD: list[AccountEvent] = [
    AccountDeactivated(account_id=ACCOUNT_ID),
    AccountActivated(account_id=ACCOUNT_ID),
    AccountRolesChanged(account_id=ACCOUNT_ID, roles=(Role.ADMIN,)),
    AccountUsernameChanged(account_id=ACCOUNT_ID, username="Countess", username_key="countess"),
    SAID,
    VERIFIED,
]

texts = st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=5)
commands: st.SearchStrategy[AccountCommand] = st.one_of(
    st.sampled_from(
        [
            ActivateAccount(),
            DeactivateAccount(),
            VerifyEmail(),
            RequestPasswordReset(),
            ChangePassword(by=PasswordChangedBy.OWNER, kept_session=SESSION),
            ChangePassword(by=PasswordChangedBy.RESET),
            EndSession(session_id=SESSION, by=EndedBy.OWNER),
            ReportTokenReuse(session_id=SESSION),
            EraseAccount(),
        ]
    ),
    st.builds(ChangeRoles, roles=st.lists(st.sampled_from(Role), min_size=1, max_size=3).map(tuple)),
    st.builds(ChangeUsername, username=st.sampled_from(["Ada", "ADA", "Countess", "Möbius", "ﬁ"])),
    st.builds(ChangeProfile, full_name=texts, bio=texts),
)


def life(asked: list[AccountCommand]) -> tuple[list[AccountEvent], Account | None]:
    """What happens to an account of which all this is asked, and how it is left."""
    events: list[AccountEvent] = [REGISTERED]
    account = ACCOUNTS.evolve(None, REGISTERED)
    for command in asked:
        try:
            more = ACCOUNTS.decide(command, account)
        except Refusal:
            continue
        for event in more:
            account = ACCOUNTS.evolve(account, event)
        events += more
    return events, account


def live(events: list[AccountEvent], batch: int) -> bytes:
    """The document as a running worker leaves it, which reads the row back from its table before each batch."""
    stored = b""
    for begin in range(0, len(events), batch):
        row = ACCOUNT_CARD.load(stored) if stored else None
        for version, event in enumerate(events[begin : begin + batch], start=begin + 1):
            row = ACCOUNT_CARD.project(row, record(event, version, version))
        stored = written(ACCOUNT_CARD, str(ACCOUNT_ID), Kept(1, row)).document
    return stored


def test_a_registered_account_is_served_as_it_registered() -> None:
    assert document(ACCOUNT_CARD, REGISTERED) == {
        "id": str(ACCOUNT_ID),
        "email": "Ada@Example.org",
        "email_verified": False,
        "username": "Ada",
        "full_name": None,
        "bio": None,
        "roles": ["customer"],
        "active": True,
        "created_at": "2026-03-01T12:00:01.250000Z",
        "updated_at": "2026-03-01T12:00:01.250000Z",
        "version": 1,
    }


def test_a_card_follows_what_is_said_of_the_account() -> None:
    card = document(ACCOUNT_CARD, REGISTERED, LOUD[0], *LOUD[2:])
    assert (card["active"], card["roles"], card["username"]) == (False, ["admin"], "Countess")
    assert (card["full_name"], card["bio"], card["email_verified"]) == ("Ada Lovelace", "Poet.\nMother.", True)
    assert document(ACCOUNT_CARD, REGISTERED, *LOUD[:2])["active"]


@pytest.mark.parametrize(("event", "tells"), [*((e, False) for e in QUIET), *((e, True) for e in LOUD)])
def test_every_event_moves_the_version_and_only_what_is_shown_the_time(event: AccountEvent, tells: bool) -> None:
    card = document(ACCOUNT_CARD, REGISTERED, event)
    assert card["version"] == 2
    assert card["created_at"] == "2026-03-01T12:00:01.250000Z"
    assert (card["updated_at"] == "2026-03-01T12:00:02.250000Z") == tells


def test_an_erased_account_has_no_card() -> None:
    assert fold(ACCOUNT_CARD, REGISTERED, SAID, ERASED) is None


@pytest.mark.parametrize("event", [*QUIET, *LOUD, ERASED])
def test_whatever_is_told_of_an_erased_account_does_not_bring_it_back(event: AccountEvent) -> None:
    assert fold(ACCOUNT_CARD, REGISTERED, ERASED, event) is None


def test_names_are_searched_in_the_form_in_which_they_are_compared() -> None:
    row: AccountCard = fold(ACCOUNT_CARD, account_registered(email="ÄDA@Example.org", username="ＡＤＡ"))
    columns: dict[str, Any] = {column.name: column.value(row) for column in ACCOUNT_CARD.columns}
    assert (columns["email"], columns["username"]) == ("äda@example.org", "ada")


@given(asked=st.lists(commands, max_size=12), batch=st.integers(1, 5))
def test_a_replay_equals_the_live_card(asked: list[AccountCommand], batch: int) -> None:
    events, _ = life(asked)
    row = fold(ACCOUNT_CARD, *events)
    assert live(events, batch) == (b"" if row is None else ACCOUNT_CARD.document(row))


@given(asked=st.lists(commands, max_size=12))
def test_a_card_says_what_the_rules_go_by(asked: list[AccountCommand]) -> None:
    events, account = life(asked)
    assert account is not None
    row: AccountCard | None = fold(ACCOUNT_CARD, *events)
    if account.erased:
        assert row is None
        return
    assert row is not None
    names = ("email", "email_verified", "username", "full_name", "bio", "roles", "active")
    assert [getattr(row, name) for name in names] == [getattr(account, name) for name in names]
    assert row.version == len(events)
    assert orjson.loads(ACCOUNT_CARD.document(row))["id"] == str(account.account_id)

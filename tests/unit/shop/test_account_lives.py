"""What can happen to an account between its registration and its erasure."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import (
    ACCOUNTS,
    LONGEST_BIO,
    LONGEST_FULL_NAME,
    Account,
    AccountActivated,
    AccountCommand,
    AccountDeactivated,
    AccountEmailVerified,
    AccountErased,
    AccountPasswordChanged,
    AccountPasswordResetRequested,
    AccountProfileChanged,
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
    InvalidLink,
    PasswordChangedBy,
    RegisterAccount,
    ReportTokenReuse,
    RequestPasswordReset,
    Role,
    VerifyEmail,
)
from domain.kernel.decider import Claim
from domain.kernel.refusals import AlreadyExists, DoesNotExist, InvalidValue, Refusal
from tests.support.builders import ACCOUNT_ID, account_registered, register_account
from tests.support.spec import Spec

accounts = Spec(ACCOUNTS)
REGISTERED = account_registered()
DEACTIVATED, ACTIVATED = AccountDeactivated(account_id=ACCOUNT_ID), AccountActivated(account_id=ACCOUNT_ID)
VERIFIED = AccountEmailVerified(account_id=ACCOUNT_ID, email="Ada@Example.org")
RESET_ASKED = AccountPasswordResetRequested(account_id=ACCOUNT_ID)
ERASED = AccountErased(account_id=ACCOUNT_ID)
HERE, THERE = UUID(int=1), UUID(int=2)

RESET = ChangePassword(by=PasswordChangedBy.RESET)


def changed(by: PasswordChangedBy = PasswordChangedBy.OWNER, kept: UUID | None = None) -> AccountPasswordChanged:
    return AccountPasswordChanged(account_id=ACCOUNT_ID, by=by, kept_session=kept)


def renamed(username: str, key: str) -> AccountUsernameChanged:
    return AccountUsernameChanged(account_id=ACCOUNT_ID, username=username, username_key=key)


def said(full_name: str | None = None, bio: str | None = None) -> AccountProfileChanged:
    return AccountProfileChanged(account_id=ACCOUNT_ID, full_name=full_name, bio=bio)


def state(*history: object) -> Account:
    found = accounts.given(REGISTERED, *history).state  # type: ignore[arg-type]
    assert found is not None
    return found


def test_an_email_is_verified_once() -> None:
    assert not state().email_verified
    accounts.given(REGISTERED).when(VerifyEmail()).then(VERIFIED)
    accounts.given(REGISTERED, VERIFIED).when(VerifyEmail()).then_nothing()


def test_another_username_is_taken_and_the_old_one_given_back_in_one_go() -> None:
    asked = accounts.given(REGISTERED).when(ChangeUsername(username="Countess"))
    asked.then(renamed("Countess", "countess"))
    asked.then_claims(
        Claim(scope="username", key="ada", released=True),
        Claim(scope="username", key="countess", pointer="/username"),
    )


def test_another_spelling_of_a_username_moves_no_claim() -> None:
    asked = accounts.given(REGISTERED).when(ChangeUsername(username="ADA"))
    asked.then(renamed("ADA", "ada"))
    asked.then_claims()


def test_a_username_that_it_has_already_changes_nothing() -> None:
    accounts.given(REGISTERED).when(ChangeUsername(username="Ada")).then_nothing()


def test_a_new_username_keeps_to_the_rules_for_any() -> None:
    asked = accounts.given(REGISTERED).when(ChangeUsername(username="ada@example.org"))
    asked.then_refused(InvalidValue, pointer="/username")


def test_a_profile_is_told_whole() -> None:
    accounts.given(REGISTERED).when(ChangeProfile(full_name="Ada L.", bio="Poet.\nMother.")).then(
        said("Ada L.", "Poet.\nMother.")
    )
    accounts.given(REGISTERED, said("Ada L.", "x")).when(ChangeProfile(full_name=None, bio="x")).then(said(None, "x"))
    accounts.given(REGISTERED, said("Ada L.")).when(ChangeProfile(full_name="Ada L.", bio=None)).then_nothing()


@pytest.mark.parametrize(
    ("full_name", "bio", "pointer"),
    [
        ("", None, "/full_name"),
        ("x" * (LONGEST_FULL_NAME + 1), None, "/full_name"),
        ("Ada\nBcc: eve@example.org", None, "/full_name"),
        ("\x00", None, "/full_name"),
        (None, "x" * (LONGEST_BIO + 1), "/bio"),
        (None, "\ud800", "/bio"),
    ],
)
def test_a_profile_has_its_bounds(full_name: str | None, bio: str | None, pointer: str) -> None:
    asked = accounts.given(REGISTERED).when(ChangeProfile(full_name=full_name, bio=bio))
    asked.then_refused(InvalidValue, pointer=pointer)


def test_an_owner_changes_the_password_and_may_stay_signed_in() -> None:
    asked = ChangePassword(by=PasswordChangedBy.OWNER, kept_session=HERE)
    accounts.given(REGISTERED).when(asked).then(changed(kept=HERE))


def test_a_password_counts_until_the_next_one() -> None:
    assert state().password_no == 0
    assert state(changed(), changed()).password_no == 2


def test_a_new_password_ends_the_sessions_begun_under_an_older_one_but_the_kept() -> None:
    once = state(changed(kept=HERE))
    assert (once.keeps(HERE, 0, 1), once.keeps(THERE, 0, 1), once.keeps(THERE, 1, 2)) == (True, False, True)
    twice = state(changed(kept=HERE), changed(kept=THERE))
    assert (twice.keeps(HERE, 0, 1), twice.keeps(THERE, 1, 2)) == (False, True)


def test_a_closed_account_keeps_no_session() -> None:
    assert not state(DEACTIVATED).keeps(HERE, 0, 1)
    assert not state(ERASED).keeps(HERE, 0, 1)


def test_an_account_that_is_open_again_keeps_only_the_sessions_begun_since() -> None:
    opened = state(DEACTIVATED, ACTIVATED)
    assert [opened.keeps(HERE, 0, begun_at) for begun_at in (1, 2, 3)] == [False, True, True]
    assert opened.keeps(HERE, 0, None), "its row tells"


def test_a_session_whose_end_is_told_goes_on_nowhere_and_the_others_do() -> None:
    for told in (
        AccountSessionEnded(account_id=ACCOUNT_ID, session_id=HERE, by=EndedBy.LOGOUT),
        AccountTokenReused(account_id=ACCOUNT_ID, session_id=HERE),
    ):
        assert [state(told).keeps(session, 0, 1) for session in (HERE, THERE)] == [False, True]


def test_a_password_is_reset_only_when_that_was_asked_for_and_only_once() -> None:
    reset = changed(PasswordChangedBy.RESET)
    accounts.given(REGISTERED).when(RESET).then_refused(InvalidLink)
    accounts.given(REGISTERED, VERIFIED).when(RequestPasswordReset()).then(RESET_ASKED)
    accounts.given(REGISTERED, VERIFIED, RESET_ASKED).when(RESET).then(reset)
    accounts.given(REGISTERED, VERIFIED, RESET_ASKED, reset).when(RESET).then_refused(InvalidLink)


def test_whoever_resets_a_password_has_read_the_mail() -> None:
    accounts.given(REGISTERED, RESET_ASKED).when(RESET).then(VERIFIED, changed(PasswordChangedBy.RESET))


def test_another_password_chosen_meanwhile_makes_the_asked_reset_void() -> None:
    accounts.given(REGISTERED, RESET_ASKED, changed()).when(RESET).then_refused(InvalidLink)


def test_a_closed_account_gets_no_reset_and_loses_the_one_it_asked_for() -> None:
    accounts.given(REGISTERED, DEACTIVATED).when(RequestPasswordReset()).then_nothing()
    accounts.given(REGISTERED, RESET_ASKED, DEACTIVATED).when(RESET).then_refused(InvalidLink)


def test_ends_of_sessions_are_told() -> None:
    ended = AccountSessionEnded(account_id=ACCOUNT_ID, session_id=HERE, by=EndedBy.LOGOUT)
    accounts.given(REGISTERED).when(EndSession(session_id=HERE, by=EndedBy.LOGOUT)).then(ended)
    reused = AccountTokenReused(account_id=ACCOUNT_ID, session_id=HERE)
    accounts.given(REGISTERED).when(ReportTokenReuse(session_id=HERE)).then(reused)


def test_the_end_of_a_session_is_told_once_however_many_see_it() -> None:
    ended = AccountSessionEnded(account_id=ACCOUNT_ID, session_id=HERE, by=EndedBy.LOGOUT)
    reused = AccountTokenReused(account_id=ACCOUNT_ID, session_id=HERE)
    for told in (ended, reused):
        accounts.given(REGISTERED, told).when(EndSession(session_id=HERE, by=EndedBy.OWNER)).then_nothing()
        accounts.given(REGISTERED, told).when(ReportTokenReuse(session_id=HERE)).then_nothing()


def test_an_erased_account_gives_its_names_back_as_they_are_then() -> None:
    asked = accounts.given(REGISTERED, renamed("Countess", "countess")).when(EraseAccount())
    asked.then(ERASED)
    asked.then_claims(
        Claim(scope="email", key="ada@example.org", released=True),
        Claim(scope="username", key="countess", released=True),
    )


COMMANDS: list[AccountCommand] = [
    ActivateAccount(),
    DeactivateAccount(),
    ChangeRoles(roles=(Role.ADMIN,)),
    VerifyEmail(),
    ChangeUsername(username="Countess"),
    ChangeUsername(username="ADA"),
    ChangeProfile(full_name="Ada", bio=None),
    ChangePassword(by=PasswordChangedBy.OWNER, kept_session=HERE),
    RESET,
    RequestPasswordReset(),
    EndSession(session_id=HERE, by=EndedBy.OWNER),
    ReportTokenReuse(session_id=HERE),
    EraseAccount(),
]


@pytest.mark.parametrize("command", COMMANDS[:-1])
def test_to_an_erased_account_nothing_can_be_done(command: AccountCommand) -> None:
    accounts.given(REGISTERED, ERASED).when(command).then_refused(DoesNotExist)


def test_an_account_is_erased_once_and_its_id_is_not_used_again() -> None:
    accounts.given(REGISTERED, ERASED).when(EraseAccount()).then_nothing()
    accounts.given(REGISTERED, ERASED).when(register_account()).then_refused(AlreadyExists)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_stranger_has_no_account_to_change(command: AccountCommand) -> None:
    accounts.when(command).then_refused(DoesNotExist)


@given(st.lists(st.sampled_from(COMMANDS), max_size=30))
def test_whatever_happens_an_account_holds_its_two_names_until_it_is_erased(commands: list[AccountCommand]) -> None:
    held, account, told = set[tuple[str, str]](), ACCOUNTS.initial, 0
    first: list[AccountCommand] = [RegisterAccount(account_id=ACCOUNT_ID, email="Ada@Example.org", username="Ada")]
    for command in first + commands:
        try:
            events = ACCOUNTS.decide(command, account)
        except Refusal:
            continue
        for event in events:
            for claim in ACCOUNTS.claims(account, event):
                name = (claim.scope, claim.key)
                assert (name in held) is claim.released, "taken once, and given back once"
                held ^= {name}
            account = ACCOUNTS.evolve(account, event)
            told += isinstance(event, AccountErased)
            assert account is not None
            assert held == (
                set() if account.erased else {("email", "ada@example.org"), ("username", account.username_key)}
            )
            assert not (account.erased and account.active)
    assert told <= 1

"""Who may have an account, under which names, and when it is open."""

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import (
    ACCOUNTS,
    AccountActivated,
    AccountDeactivated,
    AccountRolesChanged,
    ActivateAccount,
    ChangeRoles,
    DeactivateAccount,
    Role,
    email_key,
    username_key,
)
from domain.kernel.decider import Claim
from domain.kernel.refusals import AlreadyExists, DoesNotExist, InvalidValue
from domain.values import normal_form
from tests.support.builders import ACCOUNT_ID, account_registered, register_account
from tests.support.spec import Spec

accounts = Spec(ACCOUNTS)
REGISTERED = account_registered()
DEACTIVATED = AccountDeactivated(account_id=ACCOUNT_ID)
ACTIVATED = AccountActivated(account_id=ACCOUNT_ID)


def test_registering_tells_the_names_as_given_and_in_their_normal_form() -> None:
    accounts.when(register_account()).then(REGISTERED)


def test_an_email_and_a_username_are_claimed_in_their_normal_form() -> None:
    accounts.when(register_account()).then_claims(
        Claim(scope="email", key="ada@example.org", pointer="/email"),
        Claim(scope="username", key="ada", pointer="/username"),
    )


def test_an_account_is_registered_once() -> None:
    accounts.given(REGISTERED).when(register_account()).then_refused(AlreadyExists)


def test_an_account_is_open_from_its_registration() -> None:
    state = accounts.given(REGISTERED).state
    assert state is not None
    assert state.active


def test_deactivating_closes_an_account_and_activating_opens_it() -> None:
    accounts.given(REGISTERED).when(DeactivateAccount()).then(DEACTIVATED)
    accounts.given(REGISTERED, DEACTIVATED).when(ActivateAccount()).then(ACTIVATED)


def test_what_is_so_already_changes_nothing() -> None:
    accounts.given(REGISTERED).when(ActivateAccount()).then_nothing()
    accounts.given(REGISTERED, DEACTIVATED).when(DeactivateAccount()).then_nothing()
    accounts.given(REGISTERED, DEACTIVATED, ACTIVATED).when(ActivateAccount()).then_nothing()
    accounts.given(REGISTERED).when(ChangeRoles(roles=(Role.CUSTOMER, Role.CUSTOMER))).then_nothing()


def test_roles_are_told_once_each_and_in_one_order() -> None:
    told = AccountRolesChanged(account_id=ACCOUNT_ID, roles=(Role.CUSTOMER, Role.ADMIN))
    asked = ChangeRoles(roles=(Role.ADMIN, Role.CUSTOMER, Role.ADMIN))
    accounts.given(REGISTERED).when(asked).then(told)
    accounts.given(REGISTERED, told).when(asked).then_nothing()


@pytest.mark.parametrize("command", [ActivateAccount(), DeactivateAccount(), ChangeRoles(roles=())])
def test_an_unknown_account_cannot_be_changed(
    command: ActivateAccount | DeactivateAccount | ChangeRoles,
) -> None:
    accounts.when(command).then_refused(DoesNotExist)


def test_only_a_registration_takes_names() -> None:
    accounts.given(REGISTERED).when(DeactivateAccount()).then_claims()


@pytest.mark.parametrize(
    ("email", "key"),
    [
        ("Ada@Example.ORG", "ada@example.org"),
        (" ada@example.org ", "ada@example.org"),
        ("ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
        ("ada@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example"),
        ("ａｄａ@example.org", "ada@example.org"),
    ],
)
def test_two_spellings_of_an_email_are_one(email: str, key: str) -> None:
    assert email_key(email) == key


@pytest.mark.parametrize(
    "email",
    ["", "ada", "@example.org", "ada@", "ada@a..b", "ada@\u200b.", "a\n@b.c", "a" * 251 + "@b.c", "a\ud800@b.c"],
)
def test_what_is_no_email_is_refused(email: str) -> None:
    accounts.when(register_account(email=email)).then_refused(InvalidValue, pointer="/email")


@pytest.mark.parametrize(
    ("username", "key"), [("Ada", "ada"), ("STRASSE", "strasse"), ("Straße", "strasse"), ("ａda_1.x-y", "ada_1.x-y")]
)
def test_two_spellings_of_a_username_are_one(username: str, key: str) -> None:
    assert username_key(username) == key


@pytest.mark.parametrize("username", ["", " ", "a b", "ada@example.org", "＠da", "a\x00b", "a" * 65, "a/b", "a\nb"])
def test_a_username_that_could_be_mistaken_is_refused(username: str) -> None:
    accounts.when(register_account(username=username)).then_refused(InvalidValue, pointer="/username")


@given(st.text(st.characters(max_codepoint=127)))
def test_the_normal_form_of_ascii_is_what_the_long_way_would_find(text: str) -> None:
    assert normal_form(text) == normalize("NFKC", normalize("NFKC", text).casefold()).strip()


@given(st.text(max_size=20))
def test_a_normal_form_is_its_own_normal_form(text: str) -> None:
    assert normal_form(normal_form(text)) == normal_form(text)

"""Who may have an account, under which names, and when it is open."""

from dataclasses import replace
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import (
    ACCOUNTS,
    AccountActivated,
    AccountDeactivated,
    AccountProfileChanged,
    AccountRolesChanged,
    ActivateAccount,
    ChangeProfile,
    ChangeRoles,
    ChangeUsername,
    DeactivateAccount,
    Role,
    email_key,
    new_username,
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


SELECTORS = [chr(point) for point in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))]


@pytest.mark.parametrize("hidden", ["\u200c", "\u200d", "\u034f", "\u3164", "\u115f", "\u180b", "\xad", *SELECTORS])
def test_no_two_usernames_look_the_same_because_something_hides_in_one(hidden: str) -> None:
    for username in (f"admin{hidden}", f"adm{hidden}in", f"{hidden}admin", f"葛{hidden}", hidden):
        accounts.when(register_account(username=username)).then_refused(InvalidValue, pointer="/username")
        accounts.given(REGISTERED).when(ChangeUsername(username=username)).then_refused(
            InvalidValue, pointer="/username"
        )


@pytest.mark.parametrize("username", ["\u0300", " \u0300 ", "\u0300a", "a.\u0300", "a-\u0903", "ﾞ", "\u0345a"])
def test_a_mark_has_its_letter(username: str) -> None:
    accounts.when(register_account(username=username)).then_refused(InvalidValue, pointer="/username")


@pytest.mark.parametrize("username", ["नमस्ते", "สวัสดี", "Zoe\u0308", "q\u0307\u0323", "李雷", "1\u0300", "Ѐ", "_x_", "ǰ"])
def test_letters_have_the_marks_of_their_script(username: str) -> None:
    assert new_username(f" {username} ") == username


@pytest.mark.parametrize("username", ["admin\ufe0f", "\u0300", "a.\u0300"])
def test_whoever_was_called_so_before_still_signs_in_as_that(username: str) -> None:
    assert username_key(username) == username
    before = account_registered(username=username, username_key=username)
    accounts.given(before).when(ChangeUsername(username=username)).then_nothing()


@pytest.mark.parametrize(
    "email", ["ad\ufe0fa@example.org", "ad\u200da@example.org", "ada@exa\ufe0fmple.org", "a@a\xadb.org"]
)
def test_nothing_hides_in_an_address_either(email: str) -> None:
    accounts.when(register_account(email=email)).then_refused(InvalidValue, pointer="/email")


def test_only_what_is_said_of_a_profile_is_looked_at() -> None:
    before = AccountProfileChanged(account_id=ACCOUNT_ID, full_name=" Ada\ufe0f", bio="\u0300")
    told = accounts.given(REGISTERED, before)
    told.when(ChangeProfile(full_name=" Ada\ufe0f", bio="Poet.")).then(replace(before, bio="Poet."))
    told.when(ChangeProfile(full_name="Ada\ufe0f", bio="Poet.")).then_refused(InvalidValue, pointer="/full_name")


@given(st.text(st.characters(max_codepoint=127)))
def test_the_normal_form_of_ascii_is_what_the_long_way_would_find(text: str) -> None:
    assert normal_form(text) == normalize("NFKC", normalize("NFKC", text).casefold()).strip()


@given(st.text(max_size=20))
def test_a_normal_form_is_its_own_normal_form(text: str) -> None:
    assert normal_form(normal_form(text)) == normal_form(text)

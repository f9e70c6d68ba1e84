"""Passwords: what is accepted, and that a hash is checked without telling who exists."""

import asyncio
import threading
import time

import pytest

from domain.kernel.refusals import InvalidValue
from infra.errors import Unavailable
from infra.identity.passwords import SHORTEST, Cost, Passwords, _common, accepted

pytestmark = pytest.mark.anyio

CHEAP = Cost(memory_kib=64, passes=1)
COMPOSED, DECOMPOSED = "caf\u00e9 au lait", "cafe\u0301 au lait"


async def test_a_password_fits_its_own_hash_and_no_other() -> None:
    hashing = Passwords(CHEAP)
    stored = await hashing.hash_password("correct horse")
    assert await hashing.verify_password(stored, "correct horse")
    assert not await hashing.verify_password(stored, "correct horsf")


async def test_a_hash_says_argon2id_with_the_cost_that_owasp_asks_for() -> None:
    stored = await Passwords().hash_password("correct horse")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_two_hashes_of_one_password_differ() -> None:
    hashing = Passwords(CHEAP)
    assert await hashing.hash_password("correct horse") != await hashing.hash_password("correct horse")


async def test_one_password_typed_on_two_keyboards_is_one_password() -> None:
    hashing = Passwords(CHEAP)
    stored = await hashing.hash_password(COMPOSED)
    assert await hashing.verify_password(stored, DECOMPOSED)


async def test_nobody_has_a_password_not_even_the_one_that_stands_in() -> None:
    hashing = Passwords(CHEAP)
    assert not await hashing.verify_password(None, "correct horse")
    assert not await hashing.verify_password(None, "nobody has this password")


async def test_what_is_no_hash_fits_no_password() -> None:
    assert not await Passwords(CHEAP).verify_password("plain text", "plain text")


async def test_text_that_utf8_cannot_hold_fits_no_hash_and_breaks_nothing() -> None:
    hashing = Passwords(CHEAP)
    stored = await hashing.hash_password("correct horse")
    assert not await hashing.verify_password(stored, "\ud800")


async def test_an_unknown_user_costs_what_a_known_one_does() -> None:
    hashing = Passwords()
    stored = await hashing.hash_password("correct horse")
    await hashing.verify_password(None, "warm up")
    # By turns, and in time of this process alone: what else the machine does must not tell them apart.
    costs = [(await _cost(hashing, stored), await _cost(hashing, None)) for _ in range(7)]
    known, unknown = (min(each) for each in zip(*costs, strict=True))
    assert 0.5 < unknown / known < 2


async def _cost(hashing: Passwords, stored: str | None) -> float:
    """Seconds of CPU."""
    start = time.process_time()
    await hashing.verify_password(stored, "wrong password")
    return time.process_time() - start


@pytest.mark.parametrize("password", ["1234567", "", "x" * 1025, "passwor\ud800d"])
def test_too_short_too_long_and_unwritable_passwords_are_refused(password: str) -> None:
    with pytest.raises(InvalidValue) as refusal:
        accepted(password)
    assert refusal.value.pointer == "/password"
    assert not password or password not in refusal.value.detail


@pytest.mark.parametrize("password", ["zub oqet", "kzqwv" * 204 + "kzqw", "e\u0301kzqw" * 204 + "e\u0301kzq"])
def test_the_bounds_themselves_are_accepted_counted_in_composed_characters(password: str) -> None:
    assert 8 <= len(accepted(password)) <= 1024


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "PassWord",
        "qwerty123",
        "trustno1",
        "letmein123",
        "12345678",
        "87654321",
        "abcdefgh",
        "aaaaaaaa",
        "weirweir",
        "xY1!" * 30,
        "ｐａｓｓｗｏｒｄ",
        "ﬀﬀﬀﬀﬀﬀﬀﬀ",
        " password ",
        " " * 9,
    ],
)
def test_what_everybody_tries_first_is_refused_in_any_case_and_not_repeated(password: str) -> None:
    with pytest.raises(InvalidValue) as refusal:
        accepted(password, "/new_password")
    assert refusal.value.pointer == "/new_password"
    assert password not in refusal.value.detail


@pytest.mark.parametrize(
    "password",
    [
        "ada.lovelace@example.org",
        "ADA.LOVELACE@EXAMPLE.ORG",
        "Ada.Lovelace",
        "ada.lovelace1815",
        "ada.lovelace!!",
        "countess",
        "Countess_1815",
        "countess99",
        "Ｃｏｕｎｔｅｓｓ９９",
        "adalovelace1815",
        "a.d.a.l.o.v.e.l.a.c.e",
        "ada-love-lace!",
        "adalovelaceexampleorg",
        "c o u n t e s s",
        "c0ountess",
        "ⓒⓞⓤⓝⓣⓔⓢⓢ",
    ],
)
def test_the_users_own_names_are_refused_with_or_without_something_at_the_end(password: str) -> None:
    with pytest.raises(InvalidValue):
        accepted(password, own=("Ada.Lovelace@Example.org", "Countess99"))
    assert accepted(password) == password, "it is somebody else's to choose"


@pytest.mark.parametrize(
    "password", ["countesscountess", "1815countess", "Countess-Countess!", "ada.lovelace.ada.lovelace"]
)
def test_nor_are_they_taken_over_and_over_or_behind_something(password: str) -> None:
    with pytest.raises(InvalidValue):
        accepted(password, own=("Ada.Lovelace@Example.org", "Countess99"))


@pytest.mark.parametrize(
    "password",
    [
        "weir1234",
        "WeirWeir",
        "weir-2026!",
        "2026weir",
        "ｗｅｉｒ1234",
        "w.e.i.r.1234",
        "we1ir23we4ir",
        "𝐰𝐞𝐢𝐫1234",
        "weir・２０２６",
    ],
)
def test_nor_is_what_the_service_is_called(password: str) -> None:
    with pytest.raises(InvalidValue):
        accepted(password)


@pytest.mark.parametrize(
    ("password", "own"),
    [
        ("bobmail1234", ("bob.mail@people.example", "bobby")),
        ("bob_mail_bob_mail", ("bob.mail@people.example", "bobby")),
        ("bo1b2ma3il", ("bob.mail@people.example", "bobby")),
        ("jurgen-1234", ("x@people.example", "j.u.r.g.e.n")),
        ("Ленин.1917", ("x@people.example", "Лен-ин")),
        ("r2d2r2d2r2d2", ("x@people.example", "r2d2")),
    ],
)
def test_what_stands_between_the_letters_of_a_name_makes_it_no_other(password: str, own: tuple[str, str]) -> None:
    with pytest.raises(InvalidValue):
        accepted(password, own=own)


@pytest.mark.parametrize(
    "password", ["wei12345", "weird-1234", "bob of the mail", "b0bm4il-1234", "ab-1234-cd", "we-are-1234"]
)
def test_what_has_other_letters_is_another(password: str) -> None:
    assert accepted(password, own=("bob.mail@people.example", "ab")) == password


def test_a_number_is_nobodys_name() -> None:
    assert accepted("839201746553", own=("ada@example.org", "countess"))


def test_a_name_in_a_longer_phrase_is_no_reason_to_refuse_it() -> None:
    assert accepted("countess of sums", own=("ada@example.org", "countess"))


def test_names_without_letters_forbid_no_more_than_themselves() -> None:
    assert accepted("20240131-4!", own=("007@example.org", "4711"))


def test_the_bundled_list_is_in_the_form_that_passwords_are_compared_in() -> None:
    assert len(_common()) > 10_000
    for password in _common():
        assert len(password) >= SHORTEST
        assert password == password.strip().casefold()


async def test_the_names_count_where_a_password_is_hashed_too() -> None:
    with pytest.raises(InvalidValue):
        await Passwords(CHEAP).hash_password("countess99", own=("countess",))


async def test_a_hash_of_another_cost_is_due_for_a_new_one() -> None:
    stored = await Passwords(CHEAP).hash_password("correct horse")
    assert not Passwords(CHEAP).needs_rehash(stored)
    assert Passwords(Cost(memory_kib=128, passes=1)).needs_rehash(stored)
    assert Passwords(CHEAP).needs_rehash("plain text")


async def test_the_event_loop_goes_on_while_passwords_are_hashed() -> None:
    hashing = Passwords(threads=1)
    turns = 0
    logins = asyncio.gather(*(hashing.verify_password(None, "x") for _ in range(4)))
    while not logins.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 50


async def test_a_login_that_would_queue_too_long_is_told_to_come_back() -> None:
    hashing = Passwords(Cost(memory_kib=65_536, passes=4), threads=1, patience=0)
    first = asyncio.ensure_future(hashing.hash_password("correct horse"))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await hashing.verify_password(None, "x")
    assert (await first).startswith("$argon2id$")


async def test_who_gives_up_leaves_the_thread_to_its_work_and_the_next_one_waits_for_it() -> None:
    hashing, going_on = Passwords(CHEAP, threads=1), threading.Event()
    first = asyncio.create_task(hashing._in_thread(going_on.wait))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    next_one = asyncio.create_task(hashing._in_thread(going_on.is_set))
    await asyncio.wait({next_one}, timeout=0.05)
    going_on.set()
    assert await next_one, "both were at work at once"

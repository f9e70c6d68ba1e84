"""What the payment provider's answers mean: only its own words decide, whatever else comes leaves the money owed."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from infra.payments.http_provider import judge
from infra.payments.provider import Deferred, Refund, Refused, Returned
from infra.settings import Settings
from tests.support.builders import euros

REFUND = Refund(payment_id="pay-1", amount=euros("19.90"))
DONE = {"refund_id": "re_1", "payment_id": "pay-1", "amount": {"amount": "19.90", "currency": "EUR"}}


def answer(status: int, told: Any, **headers: str) -> Any:
    return judge(REFUND, status, {"retry-after": headers["retry_after"]} if headers else {}, orjson.dumps(told))


@pytest.mark.parametrize("status", [200, 201])
def test_a_refund_that_was_made_now_or_before_is_returned(status: int) -> None:
    assert answer(status, DONE) == Returned(reference="re_1")
    assert answer(status, {**DONE, "more": 1}) == Returned(reference="re_1")


@pytest.mark.parametrize(
    "changes",
    [
        {"refund_id": None},
        {"refund_id": 7},
        {"refund_id": ""},
        {"refund_id": "two\nlines"},
        {"refund_id": "r" * 256},
        {"payment_id": "pay-2"},
        {"amount": None},
        {"amount": "19.90"},
        {"amount": {"amount": "19.91", "currency": "EUR"}},
        {"amount": {"amount": "19.90", "currency": "USD"}},
        {"amount": {"amount": 19.90, "currency": "EUR"}},
        {"amount": {"amount": "sNaN", "currency": "EUR"}},
        {"amount": {"amount": "19.90", "currency": "???"}},
    ],
)
def test_a_success_that_does_not_speak_of_this_money_decides_nothing(changes: dict[str, Any]) -> None:
    assert answer(200, {**DONE, **changes}) == Deferred(reason="HTTP 200 that makes no sense")


@pytest.mark.parametrize("status", [400, 402, 404, 409, 410, 422, 451])
def test_a_refusal_in_the_providers_words_is_final(status: int) -> None:
    assert answer(status, {"code": "payment-too-old"}) == Refused(reason=f"HTTP {status} payment-too-old")


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
@pytest.mark.parametrize("content", [b"", b"<html>no such page</html>", b"{}", b'{"code": 7}', b'{"code": "No, Ada!"}'])
def test_a_refusal_in_somebody_elses_words_decides_nothing(status: int, content: bytes) -> None:
    assert judge(REFUND, status, {}, content) == Deferred(reason=f"HTTP {status}")


@pytest.mark.parametrize("status", [202, 204, 302, 307, 401, 403, 408, 421, 425, 429, 500, 502, 503, 504, 599])
def test_what_passes_or_is_ours_to_mend_leaves_it_owed(status: int) -> None:
    assert answer(status, {"code": "whatever"}) == Deferred(reason=f"HTTP {status}")


def test_a_first_attempt_that_still_runs_says_nothing_of_the_provider() -> None:
    found = answer(409, {"code": "idempotency-key-in-flight"}, retry_after="3")
    assert found == Deferred(reason="HTTP 409 idempotency-key-in-flight", retry_after=3.0, alone=True)


@pytest.mark.parametrize("status", [429, 503, 401])
def test_who_says_when_to_come_back_is_heard(status: int) -> None:
    assert answer(status, {}, retry_after="17").retry_after == 17.0


@given(some.integers(100, 599), some.binary(max_size=200))
def test_no_garbage_ever_decides_anything(status: int, content: bytes) -> None:
    assert isinstance(judge(REFUND, status, {}, content), Deferred)


def test_the_key_comes_of_the_payment_alone_and_fits_into_a_header() -> None:
    assert Refund(payment_id="pay-1", amount=euros("7")).key == REFUND.key
    other = Refund(payment_id="päy\n" * 60, amount=REFUND.amount)
    assert other.key != REFUND.key
    assert other.key.isascii()
    assert len(other.key) < 255


@pytest.mark.parametrize("url", ["http://127.0.0.1:8090", "https://api.provider.example/v2/", "http://[::1]:8090"])
def test_a_provider_has_an_address(url: str) -> None:
    assert Settings(payment_provider_url=url).payment_provider_url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "provider",
        "ftp://x",
        "http://",
        "https://me:secret@x",
        "https://x/?key=secret",
        "https://x/#a",
        "https://x y",
    ],
)
def test_an_address_that_holds_more_or_less_is_none(url: str) -> None:
    with pytest.raises(ValidationError):
        Settings(payment_provider_url=url)

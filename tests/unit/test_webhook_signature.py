"""The signature of a webhook's message: what is taken, against a signature made by hand, and what is not."""

import base64
import hmac
import time
from hashlib import sha256
from typing import Final

import pytest
from pydantic import SecretStr

from cli.demo.visit import sign
from infra.payments.webhook_signature import MOST_SIGNATURES, Signature

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY: Final = b'{"test": 2432232314}'
ID: Final = "msg_p5jXN8AQM9LWM0D4loKWxJek"
ANOTHER: Final = "v1," + base64.b64encode(b"another signature, 32 bytes long").decode()

_ARABIC: Final = {ord("0") + digit: 0x660 + digit for digit in range(10)}


def by_hand(timestamp: str, body: bytes = BODY, secret: str = SECRET) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    code = hmac.digest(key, f"{ID}.{timestamp}.".encode() + body, sha256)
    return f"v1,{base64.b64encode(code).decode()}"


def at(seconds: float = 0) -> str:
    return str(int(time.time() + seconds))


def taken(timestamp: str, signatures: str, *, body: bytes = BODY, id: str = ID, secret: str | None = SECRET) -> bool:
    signature = Signature(id=id, timestamp=timestamp, signatures=signatures)
    return signature.is_of(body, None if secret is None else SecretStr(secret))


def test_a_signature_by_hand_is_the_one_that_the_standard_publishes() -> None:
    assert by_hand("1614265330") == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_demo_signs_as_the_standard_says() -> None:
    headers = sign(SECRET, BODY)
    assert taken(headers["webhook-timestamp"], headers["webhook-signature"], id=headers["webhook-id"])


@pytest.mark.parametrize("seconds", [-290, 0, 290])
def test_a_message_is_taken_for_five_minutes(seconds: int) -> None:
    assert taken(at(seconds), by_hand(at(seconds)))


@pytest.mark.parametrize("seconds", [-1e9, -310, 310, 1e11])
def test_an_older_or_later_message_is_not_taken(seconds: float) -> None:
    assert not taken(at(seconds), by_hand(at(seconds)))


@pytest.mark.parametrize(
    "beside",
    ["", "v1", "v1,", "v1,AAAA", "v1,=", "v1,\u00e4", "v2,x", "v1a," + "A" * 86 + "==", "a,b,c", ANOTHER],
)
def test_one_good_signature_is_enough_whatever_stands_beside_it(beside: str) -> None:
    now = at()
    assert taken(now, f"{beside} {by_hand(now)}")
    assert taken(now, f"{by_hand(now)} {beside}")
    assert not taken(now, beside)


def test_a_secret_that_is_being_changed_is_one_of_several_and_no_more_are_tried() -> None:
    now = at()
    others = [ANOTHER] * (MOST_SIGNATURES - 1)
    assert taken(now, " ".join([*others, by_hand(now)]))
    assert not taken(now, " ".join([*others, ANOTHER, by_hand(now)]))


@pytest.mark.parametrize(
    "written", ["", "-1", "nan", "inf", "1e400", "9" * 400, "{}.0", "+{}", " {}", "0{}", "{}_0", "{}\n", "arabic"]
)
def test_a_timestamp_is_whole_seconds_in_plain_digits(written: str) -> None:
    now = at()
    timestamp = now.translate(_ARABIC) if written == "arabic" else written.format(now)
    assert not taken(timestamp, by_hand(timestamp))
    assert not taken(timestamp, by_hand(now))


def test_nothing_else_than_what_was_signed_is_taken() -> None:
    now = at()
    assert not taken(now, by_hand(now), body=BODY + b" ")
    assert not taken(now, by_hand(now), id="msg_another")
    assert not taken(now, by_hand(now), id="")
    assert not taken(str(int(now) + 1), by_hand(now))
    assert not taken(now, by_hand(now).replace("v1,", "v0,"))
    assert not taken(now, by_hand(now, secret="whsec_" + base64.b64encode(bytes(32)).decode()))
    assert not taken(now, by_hand(now, body=b"\xff"), body=b"\xff")


def test_without_a_secret_nobody_is_believed() -> None:
    assert not taken(at(), by_hand(at()), secret=None)

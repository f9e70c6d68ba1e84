"""The signature of a webhook's message: what is taken, against a signature made by hand, and what is not."""

import base64
import hmac
import inspect
import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr, ValidationError

from api.commands.payments import payment
from infra.payments.webhook_signature import MOST_SIGNATURES, Signature, sign
from infra.settings import Settings

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY: Final = b'{"test": 2432232314}'
ID: Final = "msg_p5jXN8AQM9LWM0D4loKWxJek"
ANOTHER: Final = "v1," + base64.b64encode(b"another signature, 32 bytes long").decode()

PAGE: Final = Path(__file__).parents[3] / "docs" / "webhook-signing.md"
VECTORS: Final[list[dict[str, str]]] = json.loads(re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)[0])

_ARABIC: Final = {ord("0") + digit: 0x660 + digit for digit in range(10)}


def by_hand(timestamp: str, body: bytes = BODY, secret: str = SECRET, id: str = ID) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    code = hmac.digest(key, f"{id}.{timestamp}.".encode() + body, sha256)
    return f"v1,{base64.b64encode(code).decode()}"


def at(seconds: float = 0) -> str:
    return str(int(time.time() + seconds))


def taken(
    timestamp: str,
    signatures: str,
    *,
    body: bytes = BODY,
    id: str = ID,
    secret: str | None = SECRET,
    now: float | None = None,
) -> bool:
    signature = Signature(id=id, timestamp=timestamp, signatures=signatures)
    return signature.is_of(body, None if secret is None else SecretStr(secret), time.time() if now is None else now)


def test_a_signature_by_hand_is_the_one_that_the_standard_publishes() -> None:
    assert by_hand("1614265330") == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_who_stands_in_for_a_sender_signs_as_the_standard_says() -> None:
    headers = sign(SECRET, BODY)
    assert taken(headers["webhook-timestamp"], headers["webhook-signature"], id=headers["webhook-id"])


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["what"] for vector in VECTORS])
def test_each_vector_that_senders_are_told_is_right(vector: Mapping[str, str]) -> None:
    secret, id, body = vector["secret"], vector["id"], vector["body"].encode()
    headers = sign(secret, body, message_id=id, at=datetime.fromtimestamp(int(vector["timestamp"]), UTC))
    assert vector["signature"] == by_hand(vector["timestamp"], body, secret, id) == headers["webhook-signature"]
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == (id, vector["timestamp"])
    now = at()
    assert taken(now, by_hand(now, body, secret, id), body=body, id=id, secret=secret)
    assert not taken(vector["timestamp"], vector["signature"], body=body, id=id, secret=secret), "it is too old"


def test_the_example_on_the_page_and_in_the_openapi_document_is_a_vector() -> None:
    (published,) = [vector for vector in VECTORS if vector["id"] == ID]
    told = inspect.getdoc(payment) or ""
    for text in (PAGE.read_text().partition("## Test vectors")[0], told):
        for name in ("secret", "id", "timestamp", "body", "signature"):
            assert published[name] in text


@pytest.mark.parametrize(
    "secret", ["hello", "whsec_", "whsec_aA==", "whsec_" + "A" * 28, "whsec_" + "A" * 88, SECRET[6:]]
)
def test_a_secret_that_is_no_key_is_refused_at_start(secret: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(payment_webhook_secret=SecretStr(secret))
    assert [error["loc"] for error in refused.value.errors()] == [("payment_webhook_secret",)]


@pytest.mark.parametrize(("length", "is_key"), [(1, False), (23, False), (24, True), (64, True), (65, False)])
def test_a_key_has_24_to_64_bytes(length: int, is_key: bool) -> None:
    """Standard Webhooks 1.0: what is shorter can be guessed, and whoever guesses it says what is paid."""
    secret = SecretStr("whsec_" + base64.b64encode(bytes(range(length))).decode())
    if is_key:
        assert Settings(payment_webhook_secret=secret).payment_webhook_secret == secret
    else:
        with pytest.raises(ValidationError):
            Settings(payment_webhook_secret=secret)


@pytest.mark.parametrize("seconds", [-290, 0, 290])
def test_a_message_is_taken_for_five_minutes(seconds: int) -> None:
    assert taken(at(seconds), by_hand(at(seconds)))


@pytest.mark.parametrize(("moment", "is_taken"), [(1614265330 + 290, True), (1614265330 - 290, True), (0, False)])
def test_the_five_minutes_are_by_the_clock_that_is_handed_in(moment: float, is_taken: bool) -> None:
    assert taken("1614265330", by_hand("1614265330"), now=moment) is is_taken


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

"""What the demo tells of as it happens: each line must come, and a webhook must be signed."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import pytest
from starlette.requests import Request
from starlette.types import Message

from cli.demo.subscriber import EVENT_TYPES, Subscriber
from cli.demo.visit import PROMISED, Failed, seen
from infra.payments.webhook_signature import sign

pytestmark = pytest.mark.anyio

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ORDER: Final = uuid4()
PAID: Final = EVENT_TYPES[0]
BODY: Final = json.dumps(
    {"type": PAID, "timestamp": datetime.now(UTC).isoformat(), "data": {"order_id": str(ORDER)}}
).encode()


def test_all_that_was_promised_is_counted_in_the_verdict() -> None:
    assert seen(Counter(PROMISED)).endswith("2 × chat line heard, 4 × order moved, 3 × webhook arrived")


@pytest.mark.parametrize("title", PROMISED)
def test_a_line_that_did_not_come_is_named_and_there_is_no_verdict(title: str) -> None:
    with pytest.raises(Failed, match=f"{title}: {PROMISED[title] - 1} of {PROMISED[title]} were seen"):
        seen(Counter(PROMISED) - Counter([title]))


async def taken(subscriber: Subscriber, headers: Mapping[str, str], body: bytes = BODY) -> int:
    """The status that a delivery is answered with."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    told = [(name.encode(), value.encode()) for name, value in headers.items()]
    return (await subscriber.take(Request({"type": "http", "headers": told}, receive))).status_code


async def test_the_subscriber_takes_what_the_shop_has_signed() -> None:
    subscriber = Subscriber()
    subscriber.secret = SECRET
    assert await taken(subscriber, sign(SECRET, BODY)) == 204
    step = await subscriber.came(PAID, ORDER)
    assert (step.title, step.detail.partition(",")[0]) == ("webhook arrived", "order.paid")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        sign(SECRET, b"another body"),
        sign(f"whsec_{'B' * 32}", BODY),
        {**sign(SECRET, BODY), "webhook-signature": "v1"},
    ],
    ids=["unsigned", "of another body", "by another secret", "no signature at all"],
)
async def test_the_subscriber_keeps_nothing_of_what_anybody_else_has_sent(
    headers: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.demo.subscriber.PATIENCE_SECONDS", 0.0)
    subscriber = Subscriber()
    subscriber.secret = SECRET
    assert await taken(subscriber, headers) == 401
    with pytest.raises(Failed, match="no webhook told of"):
        await subscriber.came(PAID, ORDER)

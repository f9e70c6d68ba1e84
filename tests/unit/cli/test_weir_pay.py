"""What ``weir pay`` sends: a payment that the shop's own verifier believes, of the amount that was meant."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import time
from typing import Any, Final

import httpx2
import pytest
from pydantic import SecretStr

from cli.demo.visit import Failed
from cli.pay import send_payment
from infra.payments.webhook_signature import Signature
from infra.settings import Settings
from tests.support.shop import SECRET

pytestmark = pytest.mark.anyio

ORDER: Final = "0192f0c1-7a3e-7c1d-9b52-3f8e6d1c0a47"
PAYMENT: Final = {"order_id": ORDER, "payment_id": "pay_1", "status": "succeeded"}
TOTAL: Final = {"amount": "79.80", "currency": "EUR"}
SETTINGS: Final = Settings().model_copy(
    update={
        "payment_webhook_secret": SecretStr(SECRET),
        "admin_email": "admin@weir.example",
        "admin_password": SecretStr("a password of the admin"),
    }
)

Pay = Callable[..., Awaitable[str]]


@dataclass
class Api:
    """A shop that answers in this process; its read model shows the order after so many questions."""

    lag: int = 0
    refuses: bool = False
    paid: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url.path)
        match request.url.path:
            case "/v1/auth/token":
                return httpx2.Response(200, json={"access_token": "t"})
            case "/v1/webhooks/payments":
                return self._take(request)
            case _:
                shown = self.asked.count(request.url.path) > self.lag
                assert request.headers["authorization"] == "Bearer t"
                return httpx2.Response(200, json={"total": TOTAL}) if shown else httpx2.Response(404, json={})

    def _take(self, request: httpx2.Request) -> httpx2.Response:
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        message_id, timestamp, signatures = (request.headers[name] for name in names)
        signature = Signature(id=message_id, timestamp=timestamp, signatures=signatures)
        assert signature.is_of(request.content, SecretStr(SECRET), time())
        if self.refuses:
            return httpx2.Response(409, json={"code": "payment-mismatch", "detail": "It is another amount."})
        self.paid.append(json.loads(request.content))
        return httpx2.Response(200, json={"id": ORDER, "version": 2, "position": 9})


async def pay(api: Api, amount: str | None = None, settings: Settings = SETTINGS, **changed: str) -> str:
    async with httpx2.AsyncClient(base_url="http://weir.test", transport=httpx2.MockTransport(api.answer)) as http:
        return await send_payment(http, settings, {**PAYMENT, **changed}, amount)


async def test_an_order_is_paid_by_its_total() -> None:
    api = Api()
    assert await pay(api) == "79.80 EUR succeeded: pay_1; the order is at version 2"
    assert api.paid == [{**PAYMENT, "amount": TOTAL}]


async def test_an_order_that_cannot_be_read_yet_is_waited_for() -> None:
    api = Api(lag=2)
    await pay(api, status="failed")
    assert api.paid == [{**PAYMENT, "status": "failed", "amount": TOTAL}]


async def test_another_amount_is_in_the_orders_currency_and_one_with_its_own_asks_for_nothing() -> None:
    api = Api()
    await pay(api, "1.00")
    await pay(api, "5 USD", Settings().model_copy(update={"payment_webhook_secret": SecretStr(SECRET)}))
    assert [each["amount"] for each in api.paid] == [
        {"amount": "1.00", "currency": "EUR"},
        {"amount": "5", "currency": "USD"},
    ]
    assert api.asked[-1:] == ["/v1/webhooks/payments"]
    assert api.asked.count("/v1/auth/token") == 1


@pytest.mark.parametrize("amount", ["", "-1", "1,00", "1.00EUR", "1.00 eur", "EUR", "1e3", "٣"])
async def test_what_is_no_amount_is_not_sent(amount: str) -> None:
    api = Api()
    with pytest.raises(Failed, match="an amount is written like"):
        await pay(api, amount)
    assert api.asked == []


@pytest.mark.parametrize(
    ("missing", "why"),
    [("payment_webhook_secret", "no secret to sign with"), ("admin_password", "give the whole amount")],
)
async def test_what_is_missing_is_said(missing: str, why: str) -> None:
    api = Api()
    with pytest.raises(Failed, match=why):
        await pay(api, settings=SETTINGS.model_copy(update={missing: None}))
    assert api.asked == []


async def test_a_refusal_is_told_by_its_code_and_in_words() -> None:
    with pytest.raises(Failed, match=r"^payment-mismatch: It is another amount\.$"):
        await pay(Api(refuses=True), "1.00 EUR")

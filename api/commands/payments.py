"""The payment provider's webhook, authenticated by its Standard Webhooks signature."""

import base64
import binascii
import hmac
import time
from hashlib import sha256
from typing import Annotated, Final, Literal

from fastapi import Depends, Header
from pydantic import Field, SecretStr

from api.commands.dispatcher import Commands
from api.commands.orders import change_order
from api.dependencies import RawBody, opened
from api.errors import Problem
from api.http.fast_route import router
from api.http.response import Receipt
from api.schemas import Body, MoneyBody
from domain.orders import FailPayment, PayOrder
from domain.orders.decider import LONGEST_PAYMENT_ID
from infra.schemas.forms import Id
from infra.schemas.money import money
from infra.settings import Settings

routes = router(tags=["orders"])

ACTOR: Final = "payment-provider"
TOLERANCE_SECONDS: Final = 300
SECRET_PREFIX: Final = "whsec_"  # noqa: S105


class PaymentBody(Body):
    """What became of a payment."""

    order_id: Id
    payment_id: str = Field(min_length=1, max_length=LONGEST_PAYMENT_ID, pattern=r"^[\x21-\x7e]+$")
    amount: MoneyBody
    status: Literal["succeeded", "failed"]


def verify_signature(secret: SecretStr | None, sent: "Signature", body: bytes, now: float) -> None:
    """The signature is over ``id.timestamp.body`` and younger than five minutes (Standard Webhooks 1.0).

    Raises :class:`~api.errors.Problem` ``invalid-signature``.
    """
    key = _key(secret)
    if key is None or not sent.complete or abs(now - int(sent.timestamp)) > TOLERANCE_SECONDS:
        raise Problem("invalid-signature")
    message = b"%b.%b.%b" % (sent.id.encode(), sent.timestamp.encode(), body)
    expected = base64.b64encode(hmac.digest(key, message, sha256)).decode()
    # During a change of secrets the provider sends several signatures, separated by spaces.
    if not any(hmac.compare_digest(f"v1,{expected}".encode(), one.encode()) for one in sent.signatures):
        raise Problem("invalid-signature")


class Signature:
    """The three headers of a Standard Webhooks message."""

    __slots__ = ("id", "signatures", "timestamp")

    def __init__(self, id: str, timestamp: str, signature: str) -> None:
        self.id = id
        self.timestamp = timestamp
        self.signatures = signature.split(" ")[:5]

    @property
    def complete(self) -> bool:
        """Whether there is something to verify."""
        return bool(self.id) and self.timestamp.isascii() and self.timestamp.isdigit() and len(self.timestamp) <= 12


def signed(
    body: RawBody,
    settings: Annotated[Settings, Depends(opened(Settings))],
    webhook_id: Annotated[str, Header(max_length=255)] = "",
    webhook_timestamp: Annotated[str, Header(max_length=255)] = "",
    webhook_signature: Annotated[str, Header(max_length=2048)] = "",
) -> None:
    """A dependency that lets only the provider through, before the body is looked at."""
    signature = Signature(webhook_id, webhook_timestamp, webhook_signature)
    verify_signature(settings.payment_webhook_secret, signature, body, time.time())


@routes.post("/v1/webhooks/payments")
async def payment(body: PaymentBody, commands: Commands, _: Annotated[None, Depends(signed)]) -> Receipt:
    """A payment came, or failed. The same payment twice is one event; a wrong amount is refused."""
    commands = commands.speaking_for(ACTOR, keys=ACTOR)
    if body.status == "failed":
        return await change_order(commands, body.order_id, FailPayment(payment_id=body.payment_id))
    command = PayOrder(payment_id=body.payment_id, amount=money(body.amount, "/amount"))
    return await change_order(commands, body.order_id, command)


def _key(secret: SecretStr | None) -> bytes | None:
    if secret is None:
        return None
    try:
        return base64.b64decode(secret.get_secret_value().removeprefix(SECRET_PREFIX), validate=True) or None
    except binascii.Error:
        return None

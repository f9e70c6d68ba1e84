"""The payment provider's webhook, authenticated by its Standard Webhooks signature."""

from typing import Annotated, Final, Literal

from fastapi import Depends, Header
from fastapi.openapi.models import APIKey
from fastapi.security.base import SecurityBase
from pydantic import Field

from api.commands.dispatcher import Commands
from api.commands.orders import change_order
from api.dependencies import ClockDep, RawBody, SettingsDep
from api.errors import Problem
from api.http.fast_route import router
from api.http.response import Receipt
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.schemas import Body, MoneyBody
from domain.orders import FailPayment, PayOrder
from domain.orders.decider import LONGEST_PAYMENT_ID
from infra.payments.webhook_signature import Signature
from infra.schemas.forms import Id
from infra.schemas.money import money

routes = router(tags=["orders"])

ACTOR: Final = "payment-provider"


class PaymentBody(Body):
    """What became of a payment."""

    order_id: Id
    """Which order was to be paid."""
    payment_id: str = Field(min_length=1, max_length=LONGEST_PAYMENT_ID, pattern=r"^[\x21-\x7e]+$")
    """The provider's id of the payment, 1 to 255 visible ASCII characters. The same payment counts once."""
    amount: MoneyBody
    """What came in: the order's total, to the cent."""
    status: Literal["succeeded", "failed"]
    """What became of it."""


class _Signed(SecurityBase):
    """The scheme, for the OpenAPI document alone."""

    def __init__(self) -> None:
        self.scheme_name = "paymentSignature"
        self.model = APIKey.model_validate(
            {
                "in": "header",
                "name": "webhook-signature",
                "description": "Standard Webhooks: `v1,` and the base64 of the HMAC-SHA256 of "
                "`<webhook-id>.<webhook-timestamp>.<body>` under the secret that the shop shares with its provider.",
            }
        )

    async def __call__(self) -> None:
        return None


_SCHEME: Final = _Signed()


async def signed(
    body: RawBody,
    settings: SettingsDep,
    clock: ClockDep,
    webhook_id: Annotated[
        str, Header(max_length=255, description="The message's id, the same each time it is sent.")
    ] = "",
    webhook_timestamp: Annotated[str, Header(max_length=255, description="When it is sent, in Unix seconds.")] = "",
    webhook_signature: Annotated[
        str, Header(max_length=2048, description="`v1,<base64>`, or several with blanks between.")
    ] = "",
    _: Annotated[None, Depends(_SCHEME)] = None,
) -> None:
    """A dependency that lets only the provider through, before the body is looked at."""
    signature = Signature(id=webhook_id, timestamp=webhook_timestamp, signatures=webhook_signature)
    if not signature.is_of(body, settings.payment_webhook_secret, clock.told()):
        raise Problem("invalid-signature")


@routes.post("/v1/webhooks/payments", operation_id="report_payment")
@limited("hook")
@refuses("invalid-signature", "not-found", "payment-mismatch", "invalid-amount", "unknown-currency")
async def payment(body: PaymentBody, commands: Commands, _: Annotated[None, Depends(signed)]) -> Receipt:
    """A payment came, or failed. The same payment twice is one event; a wrong amount is refused.

    Who sends it is known by its signature alone (Standard Webhooks 1.0): `webhook-signature` is `v1,` and the base64 of
    the HMAC-SHA256 of `<webhook-id>.<webhook-timestamp>.<body>`, the body byte for byte as it is sent. The key is what
    the base64 behind `whsec_` in the shared secret stands for. `webhook-timestamp` is in whole seconds since 1970, and
    more than five minutes off is `401 invalid-signature`. So, with the secret `whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw`,
    the id `msg_p5jXN8AQM9LWM0D4loKWxJek`, the timestamp `1614265330` and the body `{"test": 2432232314}`, it is
    `v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=`. More vectors are in `docs/webhook-signing.md`, and
    `weir pay ORDER` sends such a message in development.
    """
    commands = commands.speaking_for(ACTOR, keys=ACTOR)
    if body.status == "failed":
        return await change_order(commands, body.order_id, FailPayment(payment_id=body.payment_id))
    command = PayOrder(payment_id=body.payment_id, amount=money(body.amount, "/amount"))
    return await change_order(commands, body.order_id, command)

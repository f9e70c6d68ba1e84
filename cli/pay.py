"""``weir pay``: the payment provider's message that an order is paid, signed as the provider would, for development."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import httpx2
import typer

from cli.demo.visit import Failed, eventually
from cli.importing.remote import away, told
from cli.target.data_dir import DATA_DIR, DataDir
from cli.target.servers import api_url_for, settings_for
from infra.payments.webhook_signature import sign
from infra.settings import Settings

READ_SECONDS: Final = 5.0
_AMOUNT: Final = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?)(?: ([A-Z]{3}))?")

Order = Annotated[UUID, typer.Argument(help="The order's id.")]
Fail = Annotated[bool, typer.Option("--fail", help="Say that the payment has failed.")]
Amount = Annotated[str | None, typer.Option(help='What came in, if it is not just the total: "79.80" or "79.80 EUR".')]
PaymentId = Annotated[
    str | None, typer.Option(help="The provider's id of the payment; the same one twice is one payment.")
]
Url = Annotated[str | None, typer.Option(envvar="WEIR_URL", help="Where the API is; else that of the running stack.")]


def register(app: typer.Typer) -> None:
    """Add ``weir pay``."""
    app.command("pay", help="Pay an order as the payment provider would, in development.")(pay)


def pay(
    order: Order,
    fail: Fail = False,
    amount: Amount = None,
    payment_id: PaymentId = None,
    url: Url = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Sign with `WEIR_PAYMENT_WEBHOOK_SECRET`, else with the secret of the running stack, and send it.

    Ends with 1 if it is refused.
    """
    api_url = url or api_url_for(data_dir)
    payment = {
        "order_id": str(order),
        "payment_id": payment_id or f"pay_{order}{'_failed' if fail else ''}",
        "status": "failed" if fail else "succeeded",
    }
    try:
        typer.echo(asyncio.run(_pay(api_url, _settings(data_dir), payment, amount)))
    except Failed as refused:
        typer.echo(f"refused: {refused}", err=True)
        raise typer.Exit(1) from None
    except httpx2.HTTPError as error:
        typer.echo(away(httpx2.URL(api_url), error), err=True)
        raise typer.Exit(1) from None


def _settings(data_dir: Path) -> Settings:
    """Whose secret it is: that of the environment, whatever else is running here."""
    named = Settings()
    return settings_for(data_dir) if named.payment_webhook_secret is None else named


async def _pay(api_url: str, settings: Settings, payment: dict[str, str], amount: str | None) -> str:
    async with httpx2.AsyncClient(base_url=api_url, timeout=15) as http:
        return await send_payment(http, settings, payment, amount)


async def send_payment(
    http: httpx2.AsyncClient, settings: Settings, payment: Mapping[str, str], amount: str | None = None
) -> str:
    """Signs and sends it; what became of it, in a line. Raises :class:`Failed` and httpx2's errors."""
    if settings.payment_webhook_secret is None:
        raise Failed("there is no secret to sign with: set WEIR_PAYMENT_WEBHOOK_SECRET, or start `weir up`")
    money = await _amount(http, settings, payment["order_id"], amount)
    body = json.dumps({**payment, "amount": money}).encode()
    headers = {"Content-Type": "application/json", **sign(settings.payment_webhook_secret.get_secret_value(), body)}
    receipt = _taken(await http.post("/v1/webhooks/payments", content=body, headers=headers))
    what, version = "{amount} {currency}".format_map(money), receipt["version"]
    return f"{what} {payment['status']}: {payment['payment_id']}; the order is at version {version}"


async def _amount(http: httpx2.AsyncClient, settings: Settings, order: str, given: str | None) -> dict[str, str]:
    """What is said to have come in: what was given, and what is missing of it as the order has it."""
    read = _AMOUNT.fullmatch("0" if given is None else given)
    if read is None:
        raise Failed('an amount is written like "79.80" or "79.80 EUR"')
    if read[2]:
        return {"amount": read[1], "currency": read[2]}
    total = await _total(http, settings, order)
    return {**total, "amount": read[1]} if given is not None else total


async def _total(http: httpx2.AsyncClient, settings: Settings, order: str) -> dict[str, str]:
    """The order's total, as the admin reads it, who may read each. What was placed a moment ago is waited for."""
    if settings.admin_email is None or settings.admin_password is None:
        raise Failed('nobody is known who may read the order; give the whole amount: --amount "79.80 EUR"')
    form = {"grant_type": "password", "username": settings.admin_email}
    password = settings.admin_password.get_secret_value()
    signed_in = _taken(await http.post("/v1/auth/token", data={**form, "password": password}))
    headers = {"Authorization": f"Bearer {signed_in['access_token']}"}
    documents: list[dict[str, Any]] = []

    async def there() -> bool:
        answer = await http.get(f"/v1/orders/{order}", headers=headers)
        documents.extend([] if answer.status_code == httpx2.codes.NOT_FOUND else [_taken(answer)])
        return bool(documents)

    await eventually(there, READ_SECONDS, f"no order {order} was found")
    total: dict[str, str] = documents[0]["total"]
    return total


def _taken(answer: httpx2.Response) -> dict[str, Any]:
    if answer.is_error:
        raise Failed(told(answer))
    document: dict[str, Any] = answer.json()
    return document

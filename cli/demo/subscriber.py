"""A subscriber of webhooks, in the demo's own process: takes what is signed as it should be, and remembers it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

import uvicorn
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from weir_client import AuthenticatedClient
from weir_client.api.webhooks import delete_webhook, list_webhooks, register_webhook
from weir_client.models import Receipt, RegisterWebhookBody, WebhookCardPage, WebhookReceipt
from weir_client.models import RegisterWebhookBodyEventTypesItem as EventType

from cli.demo.calls import fresh_key, told
from cli.demo.visit import PATIENCE_SECONDS, Step, behind, eventually
from infra.host.inner_server import InnerServer

EVENT_TYPES: Final = (EventType.ORDER_PAID, EventType.ORDER_SHIPPED, EventType.ORDER_COMPLETED)


DESCRIPTION: Final = "the demo's subscriber"


class Subscriber:
    """What came, each once: a delivery may come twice, under the same id."""

    def __init__(self) -> None:
        self.secret = ""
        """From the registration on."""
        self._came: dict[str, tuple[Any, float]] = {}

    async def take(self, request: Request) -> Response:
        """A delivery. One that the shop has not signed is refused, and nothing of it kept."""
        try:
            message = Webhook(self.secret).verify(await request.body(), dict(request.headers))
        except (WebhookVerificationError, ValueError):  # the library stumbles over what is no signature at all
            return Response(status_code=401)
        self._came.setdefault(request.headers["webhook-id"], (message, behind(message["timestamp"])))
        return Response(status_code=204)

    async def came(self, kind: EventType, order_id: UUID) -> Step:
        """Waits until it has been told of that."""
        found: list[float] = []

        async def came() -> bool:
            for message, told_ms in self._came.values():
                if (message["type"], message["data"]["order_id"]) == (kind, str(order_id)):
                    found.append(told_ms)
            return bool(found)

        await eventually(came, PATIENCE_SECONDS, f"no webhook told of {kind}")
        return Step(title="webhook arrived", detail=f"{kind}, rightly signed", told_ms=found[0])


@asynccontextmanager
async def subscribed(client: AuthenticatedClient) -> AsyncIterator[tuple[Subscriber, Step]]:
    """One that listens on a free port of this machine and is told of events, until the end of the block."""
    subscriber = Subscriber()
    await _forget_earlier(client)
    async with _served(subscriber) as url:
        registered = await _registered(client, url)
        subscriber.secret = registered.secret or ""
        yield (
            subscriber,
            Step(title="webhook registered", detail=f"{url} is told of orders", position=registered.position),
        )
        await _forget(client, registered.id)


async def _forget_earlier(client: AuthenticatedClient) -> None:
    """What demos have left that did not come to their end: an account has only so many webhooks."""
    page = await told(WebhookCardPage, list_webhooks.asyncio_detailed(client=client, limit=100))
    for each in page.document.items:
        if each.description == DESCRIPTION:
            await _forget(client, each.id)


async def _forget(client: AuthenticatedClient, webhook_id: UUID) -> None:
    call = delete_webhook.asyncio_detailed(webhook_id, client=client, idempotency_key=fresh_key())
    await told(Receipt, call)


async def _registered(client: AuthenticatedClient, url: str) -> WebhookReceipt:
    body = RegisterWebhookBody(url=url, event_types=list(EVENT_TYPES), description=DESCRIPTION)
    call = register_webhook.asyncio_detailed(client=client, body=body, idempotency_key=fresh_key())
    return (await told(WebhookReceipt, call)).document


@asynccontextmanager
async def _served(subscriber: Subscriber) -> AsyncIterator[str]:
    app = Starlette(routes=[Route("/", subscriber.take, methods=["POST"])])
    server = InnerServer(
        uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1)
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            await serving

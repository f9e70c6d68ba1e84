"""Calls of the API by the client that is generated from its OpenAPI document: each answer typed, or a failure told."""

import secrets
import time
from collections.abc import Awaitable, Generator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, Self, TypeVar

import httpx
from weir_client import AuthenticatedClient, Client
from weir_client.api.accounts import sign_in
from weir_client.models import OrderReceipt, Problem, Receipt, TokenDocument, TokenForm
from weir_client.types import Response

from cli.demo.visit import Failed, Step, since
from infra.payments.webhook_signature import sign

TIMEOUT: Final = httpx.Timeout(15)

T = TypeVar("T")
C = TypeVar("C", Client, AuthenticatedClient)


@dataclass(frozen=True, kw_only=True)
class Answer(Generic[T]):
    """What was answered, the milliseconds it took and, of a write, the token to read it back with."""

    document: T
    took_ms: float
    token: str


def step_of(
    written: Answer[Receipt] | Answer[OrderReceipt], title: str, detail: str, readable_ms: float | None = None
) -> Step:
    """A write as a step."""
    return Step(
        title=title,
        detail=detail,
        position=written.document.position,
        took_ms=written.took_ms,
        readable_ms=readable_ms,
    )


async def told(kind: type[T], call: Awaitable[Response[Any]]) -> Answer[T]:
    """What a call is answered, which should be of this kind. Raises :class:`Failed` if it is not, or nobody answers."""
    started = time.perf_counter()
    with answering():
        answer = await call
    took_ms = since(started)
    if isinstance(answer.parsed, kind):
        return Answer(document=answer.parsed, took_ms=took_ms, token=answer.headers.get("Consistency-Token", ""))
    problem = answer.parsed
    why = f": {problem.code}, {problem.detail}" if isinstance(problem, Problem) else ""
    raise Failed(f"the answer was {answer.status_code}{why}")


async def fetched(client: AuthenticatedClient, address: str) -> bytes:
    """What is served at an address that a document has told. Raises :class:`Failed` if there is nothing."""
    with answering():
        return (await client.get_async_httpx_client().get(address)).raise_for_status().content


@contextmanager
def answering() -> Iterator[None]:
    """Raises :class:`Failed` where nobody answers."""
    try:
        yield
    except httpx.HTTPError as error:
        raise Failed(f"{type(error).__name__}: {error}") from error


def fresh_key() -> str:
    """An idempotency key that nobody has used."""
    return secrets.token_hex(12)


class Signed(httpx.Auth):
    """Signs each request, byte for byte as it is sent, with the secret that the payment provider and the shop know."""

    requires_request_body = True

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers.update(sign(self._secret, request.content))
        yield request


class Clients:
    """Clients of one API, for each who asks it. They are open until the end of the block."""

    def __init__(self, api_url: str) -> None:
        self._open = AsyncExitStack()
        self._url = api_url
        self.anyone = Client(base_url=api_url, timeout=TIMEOUT)
        """Of who is nobody in particular."""

    async def __aenter__(self) -> Self:
        await self._opened(self.anyone)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def signed_in(self, username: str, password: str) -> AuthenticatedClient:
        """Of this account."""
        form = TokenForm(grant_type="password", username=username, password=password)
        token = (
            await told(TokenDocument, sign_in.asyncio_detailed(client=self.anyone, body=form))
        ).document.access_token
        return await self._opened(AuthenticatedClient(base_url=self._url, timeout=TIMEOUT, token=token))

    async def provider(self, secret: str) -> AuthenticatedClient:
        """Of the payment provider, who is known by the signature."""
        client = AuthenticatedClient(
            base_url=self._url,
            timeout=TIMEOUT,
            token="",
            prefix="",
            auth_header_name="webhook-signature",
            httpx_args={"auth": Signed(secret)},
        )
        return await self._opened(client)

    async def _opened(self, client: C) -> C:
        """For calls that the loop waits for and for those that are made in threads."""
        self._open.enter_context(client)
        return await self._open.enter_async_context(client)

"""The way back to the client: every answer is dressed, compressed where that pays, and sent within bounds."""

import asyncio
from time import perf_counter
from typing import Final

from starlette.types import Message, Send

from api.http.body_reader import ClientGone
from api.http.compression import SMALLEST, Compressor, is_worth_it, wants_gzip, with_mark
from api.http.connection.whole_response import send_whole
from api.http.policies.security_headers import Rules
from api.http.request_context import RequestState
from api.http.response import Headers, RawResponse

_LENGTH: Final = b"content-length"

SEND_SECONDS: Final = 30.0
"""How long a client may take to make room for the next part of a streamed answer."""


class Reply:
    """The way back to the client; knows what has been said. It is the ``send`` of whoever answers within the edge.

    ``begun_at`` is when an answer in parts has begun, by the performance counter.
    """

    __slots__ = (
        "_begun",
        "_compressor",
        "_exchange",
        "_method",
        "_rules",
        "_send",
        "_send_seconds",
        "begun_at",
        "status",
    )

    def __init__(
        self,
        send: Send,
        exchange: RequestState,
        method: str,
        rules: Rules,
        compressor: Compressor,
        *,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self._send = send
        self._send_seconds = send_seconds
        self._exchange = exchange
        self._method = method
        self._rules = rules
        self._compressor = compressor
        self._begun: Message | None = None
        self.status = 0
        self.begun_at = 0.0

    async def give(self, answer: RawResponse, *, shared: bool = False) -> None:
        """Send a whole answer. One that is ``shared`` is given more than once."""
        if len(answer.body) >= SMALLEST and self._may_be_compressed(answer):
            answer = await self._compressor.compressed(answer, shared=shared)
        self.status, headers, body = answer
        if self.status == 304 and self._exchange.marked:
            headers = with_mark(headers)
        headers = self._dressed(headers)
        if self.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        await send_whole(self._send, self.status, headers, body)

    def _may_be_compressed(self, answer: RawResponse) -> bool:
        return self._method in ("GET", "HEAD") and wants_gzip(self._exchange.headers) and is_worth_it(answer)

    def _dressed(self, headers: Headers) -> Headers:
        exchange = self._exchange
        headers = self._rules.dressed(headers, self._method, exchange.headers)
        if exchange.visit is not None:
            headers += exchange.visit.headers()
        if exchange.deprecation_headers is not None:
            headers += exchange.deprecation_headers
        headers.append((b"x-request-id", exchange.request_id.encode("ascii")))
        return headers

    async def __call__(self, message: Message) -> None:
        """An answer as ASGI messages. One that comes in a single part is given as a whole."""
        if message["type"] == "http.response.start":
            self._begun = message
            return None
        begun, self._begun = self._begun, None
        if begun is not None and not message.get("more_body", False):
            whole = _whole(begun, message)
            if whole is not None:
                return await self.give(whole)
        if begun is not None:
            self.status, self.begun_at = begun["status"], perf_counter()
            await self._pass({**begun, "headers": self._dressed(begun["headers"])})
        await self._pass(message)
        return None

    async def _pass(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._send_seconds):
                await self._send(message)
        except TimeoutError:
            raise ClientGone from None


def _whole(begun: Message, message: Message) -> RawResponse | None:
    """The answer, unless its length is not that of its body: that of a file is told to HEAD, and the file not sent."""
    body = bytes(message.get("body", b""))
    headers = [header for header in begun["headers"] if header[0] != _LENGTH]
    told = dict(begun["headers"]).get(_LENGTH)
    whole = message["type"] == "http.response.body" and told in (None, b"%d" % len(body))
    return RawResponse(begun["status"], headers, body) if whole else None

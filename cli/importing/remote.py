"""The shop's public API as ``weir import`` uses it: one upload, and questions how far it is."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

import httpx2

from infra.host import network_errors

CHUNK_BYTES: Final = 256 * 1024
TRIES: Final = 6
PAUSE_SECONDS: Final = 0.5
ENDS: Final = ("finished", "failed")

Sent = Callable[[int], None]
"""Told how many bytes of the file have gone out so far."""

_PASSING: Final = (408, 429, 502, 503, 504)
_IN_FLIGHT: Final = "idempotency-key-in-flight"
IN_FLIGHT_SECONDS: Final = 960.0
"""How long the shop may be at an upload whose answer was lost here: a little more than it gives any file."""
LONGEST_PAUSE_SECONDS: Final = 15.0


class Upload(NamedTuple):
    """A file to be sent, its media type, its size in bytes."""

    file: Path
    media: str
    size: int


class Refused(Exception):
    """The shop has answered, and the answer is no."""


class InFlight(Exception):
    """The shop is still at an earlier request under the same key."""


def away(url: httpx2.URL, error: httpx2.HTTPError) -> str:
    """What is said of a shop that cannot be asked."""
    at = network_errors.place(url.host, url.port or (443 if url.scheme == "https" else 80))
    return f"the shop at {at} cannot be reached: {network_errors.cause(error)}"


class Remote:
    """A connection to the shop. What passes, such as a restart, is waited out; the same upload twice is one import.

    ``waiting`` is told when it begins to be waited for, and why.
    """

    def __init__(
        self,
        url: str,
        credentials: Mapping[str, str],
        *,
        waiting: Callable[[str], None] = lambda _: None,
        transport: httpx2.AsyncBaseTransport | None = None,
        pause_seconds: float = PAUSE_SECONDS,
        in_flight_seconds: float = IN_FLIGHT_SECONDS,
    ) -> None:
        self._waiting = waiting
        self._pause = pause_seconds
        self._in_flight = in_flight_seconds
        timeout = httpx2.Timeout(30, connect=5)
        self._client = httpx2.AsyncClient(base_url=url, headers=dict(credentials), timeout=timeout, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def away(self, error: httpx2.HTTPError) -> str:
        """What is said of a shop that cannot be asked."""
        return away(self._client.base_url, error)

    async def upload(self, upload: Upload, sent: Sent) -> UUID:
        """The id of the import that the file has become. Raises :class:`Refused` and httpx2's errors."""
        headers = {
            "Content-Type": upload.media,
            "Content-Length": str(upload.size),
            "Idempotency-Key": secrets.token_hex(16),
        }

        def send() -> Awaitable[httpx2.Response]:
            return self._client.post("/v1/products/import", content=_chunks(upload.file, sent), headers=headers)

        try:
            return UUID((await self._asked(send)).json()["id"])
        except InFlight as still:
            key = headers["Idempotency-Key"]
            raise Refused(f"{still} The same upload with the Idempotency-Key {key} asks what it has become.") from None

    async def watch(self, import_id: UUID) -> AsyncIterator[Mapping[str, Any]]:
        """The import again and again, up to its end."""
        while True:
            seen: Mapping[str, Any] = (await self._asked(lambda: self._client.get(f"/v1/imports/{import_id}"))).json()
            yield seen
            if seen["state"] in ENDS:
                return
            await asyncio.sleep(self._pause)

    async def _asked(self, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        """The answer; the question is put again, less and less often, while the shop is away or has no time.

        So it is, for longer, while the shop is still at the same question: where the answer to it was lost. Raises
        :class:`InFlight` where that does not end.
        """
        for left in reversed(range(TRIES)):
            try:
                answer = await self._no_longer_in_flight(ask)
            except httpx2.TransportError as error:
                if not left:
                    raise
                if left == TRIES - 1:
                    self._waiting(f"{self.away(error)}; it is tried again for a while")
            else:
                if answer.is_success:
                    return answer
                if answer.status_code not in _PASSING or not left:
                    raise Refused(told(answer))
            await self._rest(TRIES - left)
        raise AssertionError("the last try has raised or returned")

    async def _no_longer_in_flight(self, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        loop = asyncio.get_running_loop()
        until, asked = loop.time() + self._in_flight, 0
        while (answer := await ask()).status_code == httpx2.codes.CONFLICT and _code(answer) == _IN_FLIGHT:
            if loop.time() >= until:
                raise InFlight(told(answer))
            asked += 1
            await self._rest(asked)
        return answer

    async def _rest(self, asked: int) -> None:
        longest = min(self._pause * 2**asked, LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(longest * random.uniform(0.5, 1))  # noqa: S311


async def _chunks(file: Path, sent: Sent) -> AsyncIterator[bytes]:
    """The file in parts; reading one of them is over sooner than a thread would have begun."""
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk
            sent(opened.tell())


def _code(answer: httpx2.Response) -> object:
    try:
        return answer.json()["code"]
    except (ValueError, KeyError, TypeError):
        return None


def told(answer: httpx2.Response) -> str:
    """A refusal in a line."""
    try:
        problem = answer.json()
        return f"{problem['code']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"

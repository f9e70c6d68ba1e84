"""One POST to a subscriber: to an address that was looked at, within bounds, and what came back.

::

    name ──resolve──▶ addresses ──all public?──▶ connect to one of these, as the name ──▶ status, first KiB

The name is resolved once for a request and the connection made to that very address, with the name in ``Host`` and SNI,
and a certificate has to be the name's: what a name server says a moment later has no say (DNS rebinding). Redirects
lead to where nobody has looked, and are not followed; the environment's proxies are not asked.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx2

from domain.webhooks import is_public
from infra.host import network_errors
from infra.host.retry_after import told_wait

CALL_SECONDS: Final = 15.0
CONNECT_SECONDS: Final = 5.0
READING_SECONDS: Final = 2.0
"""How long the text of an answer is read whose status is known."""
MOST_BYTES: Final = 1024
RESOLVERS: Final = 32
"""Threads that ask name servers. Each subscriber that is seen to has one question at a time."""

BUSY: Final = frozenset({429, 503})
"""The answers whose ``Retry-After`` is kept."""

_PORTS: Final = {"https": 443, "http": 80}

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""All addresses of a host, as text."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an attempt came to: a ``status`` and the beginning of the text, or an ``error`` of ours, in a word.

    ``wait`` are the seconds for which a subscriber that is too busy wants to be left alone.
    """

    status: int | None = None
    text: str = ""
    error: str | None = None
    wait: float | None = None
    ms: int = 0

    @property
    def taken(self) -> bool:
        """Whether the subscriber has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the subscriber wants nothing any more."""
        return self.status == 410


class NotPublic(Exception):
    """The host has an address that is not one of the Internet."""


class WebhookClient:
    """Sends to subscribers. ``anywhere`` allows private addresses; at most so many ``connections`` are open.

    ``trust`` says which certificates count, in the place of those that everybody trusts.
    """

    def __init__(
        self,
        *,
        anywhere: bool,
        connections: int,
        call_seconds: float = CALL_SECONDS,
        resolve: Resolve | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._anywhere = anywhere
        self._call_seconds = call_seconds
        self._reading_seconds = min(READING_SECONDS, call_seconds)
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolver")
        self._resolve = resolve or self._ask_name_servers
        self._client = httpx2.AsyncClient(
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "Weir-Webhooks"},
            verify=trust or True,
            timeout=httpx2.Timeout(call_seconds, connect=min(CONNECT_SECONDS, call_seconds)),
            # No connection is kept: to the pool an address is an origin, and the next name that leads to it would be
            # sent over a connection whose certificate was checked for another.
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=0),
            follow_redirects=False,
            trust_env=False,
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One attempt. It raises nothing but cancellation, and ends in time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self._attempt(url, headers, body)
        return replace(answer, ms=round((loop.time() - began) * 1000))

    async def _attempt(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            async with asyncio.timeout(self._call_seconds):
                response = await self._ask(url, headers, body)
            async with aclosing(response):
                return Answer(status=response.status_code, wait=_wait(response), text=await self._beginning(response))
        except (TimeoutError, httpx2.TimeoutException):
            return Answer(error="no answer in time")
        except NotPublic:
            return Answer(error="the host has an address that is not public")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            return Answer(error=network_errors.cause(error))

    async def close(self) -> None:
        """Closes the connections. A thread that waits for a name server is left to end by itself."""
        await self._client.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, url: str, headers: Mapping[str, str], body: bytes) -> httpx2.Response:
        parts = urlsplit(url)
        host = parts.hostname or ""
        address = await self._address(host, parts.port or _PORTS[parts.scheme])
        request = self._client.build_request(
            "POST",
            _at(parts, address),
            content=body,
            headers={**headers, "Host": parts.netloc},
            extensions={"sni_hostname": host},
        )
        return await self._client.send(request, stream=True)

    async def _beginning(self, response: httpx2.Response) -> str:
        """The first KiB, as far as it comes soon: the status has said all that counts."""
        text = bytearray()
        try:
            async with asyncio.timeout(self._reading_seconds), aclosing(response.aiter_raw()) as chunks:
                async for chunk in chunks:
                    text += chunk
                    if len(text) >= MOST_BYTES:
                        break
        except (TimeoutError, httpx2.HTTPError):
            pass
        return bytes(text[:MOST_BYTES]).decode("utf-8", "replace").replace("\0", "\ufffd")

    async def _address(self, host: str, port: int) -> str:
        """An address of the host, all of which may be connected to."""
        addresses = await self._resolve(host, port)
        if not self._anywhere and not all(map(is_public, addresses)):
            raise NotPublic
        return addresses[0]

    async def _ask_name_servers(self, host: str, port: int) -> Sequence[str]:
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [str(address[0]) for *_, address in found]


def _wait(response: httpx2.Response) -> float | None:
    if response.status_code not in BUSY:
        return None
    return told_wait(response.headers)


def _at(parts: SplitResult, address: str) -> str:
    """The URL with the address in the place of the name."""
    host = f"[{address}]" if ":" in address else address
    port = "" if parts.port is None else f":{parts.port}"
    return parts._replace(netloc=f"{host}{port}", path=parts.path or "/").geturl()

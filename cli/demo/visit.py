"""What a journey is made of: somebody who asks through the public HTTP API, what was done, and what was promised."""

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx2

MAIL_SECONDS: Final = 15.0
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_LINK: Final = re.compile(r"https?://\S+[?&]token=([A-Za-z0-9_-]+)")


class Failed(Exception):
    """The journey did not go as promised."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that was done. Times in milliseconds; ``readable_ms`` is from the receipt to the document with it."""

    title: str
    detail: str
    position: int | None = None
    took_ms: float | None = None
    readable_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Shop:
    """Where the shop is, and the secrets that only its operator knows."""

    api_url: str
    mail_dir: Path
    admin_email: str
    admin_password: str = field(repr=False)
    webhook_secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a write was answered with: its receipt, the milliseconds it took, and the token to read it back with."""

    receipt: dict[str, Any]
    took_ms: float
    token: str

    def step(self, title: str, detail: str, readable_ms: float | None = None) -> Step:
        """The write as a step."""
        position = self.receipt.get("position")
        return Step(title=title, detail=detail, position=position, took_ms=self.took_ms, readable_ms=readable_ms)


class Visitor:
    """Somebody at the API: nobody in particular until signed in. Raises :class:`Failed` at any answer from 400 on."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self._who: dict[str, str] = {}

    async def sign_in(self, username: str, password: str) -> None:
        """From now on this account asks."""
        form = urlencode({"grant_type": "password", "username": username, "password": password})
        answer = await self._http.post("/v1/auth/token", content=form, headers=FORM)
        self._who = {"Authorization": f"Bearer {_json(answer)['access_token']}"}

    async def write(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Written:
        """A command, with an idempotency key of its own."""
        headers = {**self._who, "Idempotency-Key": secrets.token_hex(12)}
        return await self._written(method, path, headers, json=body)

    async def send(self, method: str, path: str, content: bytes, headers: Mapping[str, str]) -> Written:
        """A command whose body is these bytes."""
        return await self._written(method, path, {**self._who, **headers}, content=content)

    async def read(self, path: str, token: str | None = None) -> tuple[dict[str, Any], float]:
        """A document, no older than the write with this token, and the milliseconds until it was there."""
        headers = {**self._who, **({"Consistency-Token": token} if token else {})}
        started = time.perf_counter()
        return _json(await self._http.get(path, headers=headers)), since(started)

    async def found(self, path: str) -> list[dict[str, Any]]:
        """The document, if there is one."""
        answer = await self._http.get(path, headers=self._who)
        return [] if answer.status_code == 404 else [_json(answer)]

    async def fetch(self, path: str) -> tuple[bytes, float]:
        """Bytes as they are served, and the milliseconds until they were there."""
        started = time.perf_counter()
        answer = await self._http.get(path, headers=self._who)
        if answer.status_code != 200:
            raise Failed(f"GET {path} answered {answer.status_code}")
        return answer.content, since(started)

    async def _written(self, method: str, path: str, headers: Mapping[str, str], **body: Any) -> Written:
        started = time.perf_counter()
        answer = await self._http.request(method, path, headers=dict(headers), **body)
        receipt = _json(answer)
        return Written(receipt=receipt, took_ms=since(started), token=answer.headers.get("Consistency-Token", ""))


class Mailbox:
    """The mails that came for one address."""

    def __init__(self, directory: Path, address: str) -> None:
        self._directory = directory
        self._address = address

    async def came(self, subject: str) -> Step:
        """Waits for a mail, for :data:`MAIL_SECONDS` at most."""
        started = time.perf_counter()
        await self.wait_for(subject)
        return Step(title="mail in the box", detail=subject, took_ms=since(started))

    async def link_token(self, subject: str) -> str:
        """What the link in a mail carries."""
        found = _link_in(await self.wait_for(subject))
        if found is None:
            raise Failed(f"the mail {subject!r} has no link")
        return found[1]

    async def newest_link(self, seconds: float) -> str:
        """The link of the newest mail that has one, which is waited for so long."""
        found: list[str] = []

        async def came() -> bool:
            found.extend(link[0] for message in self._messages() if (link := _link_in(message)))
            return bool(found)

        await eventually(came, seconds, f"no mail with a link came for {self._address}")
        return found[-1]

    async def wait_for(self, subject: str) -> EmailMessage:
        """The mail with this subject."""
        found: list[EmailMessage] = []

        async def came() -> bool:
            found.extend(message for message in self._messages() if message["Subject"] == subject)
            return bool(found)

        await eventually(came, MAIL_SECONDS, f"no mail with the subject {subject!r} came")
        return found[0]

    def _messages(self) -> Iterator[EmailMessage]:
        for path in sorted(self._directory.glob("*.eml")):
            message = message_from_bytes(path.read_bytes(), policy=policy.default)
            if message["To"] == self._address:
                yield message


def _link_in(message: EmailMessage) -> re.Match[str] | None:
    """The whole link, and its token as group 1."""
    body = message.get_body(("plain",))
    return _LINK.search(body.get_content()) if body else None


async def eventually(ask: Callable[[], Awaitable[bool]], seconds: float, otherwise: str) -> float:
    """Asks until it is so; the milliseconds that took. Raises :class:`Failed` after so many seconds."""
    started = time.perf_counter()
    while not await ask():
        if since(started) > seconds * 1000:
            raise Failed(f"{otherwise} in {seconds:.0f} s")
        await asyncio.sleep(0.05)
    return since(started)


def expect(holds: bool, otherwise: str) -> None:
    """Raises :class:`Failed` unless it holds."""
    if not holds:
        raise Failed(otherwise)


def since(started: float) -> float:
    """Milliseconds since then."""
    return (time.perf_counter() - started) * 1000


def _json(answer: httpx2.Response) -> dict[str, Any]:
    if answer.status_code >= 400:
        raise Failed(f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text}")
    document: dict[str, Any] = answer.json()
    return document

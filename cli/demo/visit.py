"""What a journey is made of: where the shop is, what was done and promised, and the mails that came."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Final

PATIENCE_SECONDS: Final = 60.0
"""Mail, money and imports stand back for everything else: on a busy machine they take their time."""
PROMISED: Final[Mapping[str, int]] = {
    "mail in the box": 6,
    "chat line heard": 2,
    "order moved": 4,
    "webhook arrived": 3,
}
"""What is seen because something was told, and how often, by the title of the step."""
_LINK: Final = re.compile(r"https?://\S+[?&]token=([A-Za-z0-9_-]+)")


class Failed(Exception):
    """The journey did not go as promised."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that was done, or came by itself.

    Times in milliseconds; ``readable_ms`` is from the receipt to the document with it, ``told_ms`` from the commit to
    whoever follows it.
    """

    title: str
    detail: str
    position: int | None = None
    took_ms: float | None = None
    readable_ms: float | None = None
    told_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Shop:
    """Where the shop is, and the secrets that only its operator knows."""

    api_url: str
    mail_dir: Path
    admin_email: str
    admin_password: str = field(repr=False)
    webhook_secret: str = field(repr=False)


class Mailbox:
    """The mails that came for one address."""

    def __init__(self, directory: Path, address: str) -> None:
        self._directory = directory
        self._address = address
        self._read: dict[Path, EmailMessage] = {}

    async def came(self, subject: str) -> Step:
        """Waits for a mail, for :data:`PATIENCE_SECONDS` at most."""
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

        await eventually(came, PATIENCE_SECONDS, f"no mail with the subject {subject!r} came")
        return found[0]

    def _messages(self) -> Iterator[EmailMessage]:
        for path in sorted(self._directory.glob("*.eml")):
            if path not in self._read:  # kept for good once it is there, and asked for twenty times a second
                self._read[path] = message_from_bytes(path.read_bytes(), policy=policy.default)
            if self._read[path]["To"] == self._address:
                yield self._read[path]


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


def seen(titles: Counter[str]) -> str:
    """What came by itself, in words. Raises :class:`Failed` if some of it did not."""
    for title, times in PROMISED.items():
        expect(titles[title] == times, f"{title}: {titles[title]} of {times} were seen")
    return ", ".join(f"{times} × {title}" for title, times in PROMISED.items())


def behind(at: str) -> float:
    """Milliseconds since that moment, by the clock."""
    return (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds() * 1000


def since(started: float) -> float:
    """Milliseconds since then."""
    return (time.perf_counter() - started) * 1000

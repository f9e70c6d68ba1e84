"""SMTP: a few connections kept open between mails, and what a server's reply, or its absence, means for a mail."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote, urlsplit

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPHeloError, SMTPResponseException, SMTPServerDisconnected
from pydantic import SecretStr

from infra.mail.smtp_connection import Line, SmtpCommand, stuffed

CONNECT_SECONDS: Final = 5.0
REPLY_SECONDS: Final = 10.0
"""How long each step may take that comes before the mail; a mail has its own deadline."""
IDLE_SECONDS: Final = 20.0
"""An unused connection is closed after this; servers close theirs after some minutes."""
SHUTTING_DOWN: Final = 421
SILENCE: Final = "no reply in time"

_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f<>]")
_TAKEN: Final = frozenset({250})
_TAKEN_OR_FORWARDED: Final = frozenset({250, 251})
_GO_ON: Final = frozenset({354})

PORTS: Final = {"smtp": 25, "starttls": 587, "smtps": 465}
_OURS_TO_FIX: Final = frozenset({530, 534, 535, 538})
"""Permanent replies that speak of our login, not of the mail: it waits until the settings are right."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """A message as it goes over the wire; addresses without names.

    Raises ``ValueError`` for an address or a line that the server could take for the next command.
    """

    sender: str
    recipient: str = field(repr=False)
    message: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if _UNSAFE.search(self.sender) or _UNSAFE.search(self.recipient):
            raise ValueError("an address holds what would end it")
        lines = self.message.count(b"\r\n")
        if not lines == self.message.count(b"\r") == self.message.count(b"\n") or not self.message.endswith(b"\r\n"):
            raise ValueError("a line of the message does not end in CR LF")


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The server has said that the mail is now its own."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The server will never take this mail."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Deferred:
    """The mail was not taken, but may be later."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """The message was on its way when the connection was lost: the server may have taken it or not."""

    reason: str


Result: TypeAlias = Accepted | Refused | Deferred | Unknown


@dataclass(slots=True)
class Progress:
    """How far a conversation has come. Before the message, a lost connection means that nothing was sent."""

    in_data: bool = False

    def lost(self, reason: str) -> Deferred | Unknown:
        return Unknown(reason=reason) if self.in_data else Deferred(reason=reason)


def smtp_options(url: SecretStr) -> dict[str, Any]:
    """aiosmtplib's arguments for ``smtp://`` (no TLS), ``starttls://`` (TLS or nothing) or ``smtps://`` (TLS)."""
    parts = urlsplit(url.get_secret_value())
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("WEIR_SMTP_URL must be smtp://, starttls:// or smtps:// with a host")
    return {
        "hostname": parts.hostname,
        "port": parts.port or PORTS[parts.scheme],
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "use_tls": parts.scheme == "smtps",
        "start_tls": parts.scheme == "starttls",
    }


class Mailer:
    """Sends mails to one server. As many connections are open as mails are sent at once; some are kept for the next."""

    def __init__(self, url: SecretStr, *, helo: str) -> None:
        self._options = {**smtp_options(url), "local_hostname": helo, "timeout": REPLY_SECONDS}
        self._idle: dict[Line, asyncio.TimerHandle] = {}

    async def send(self, envelope: Envelope, *, deadline: float) -> Result:
        """Offers a mail to the server, until ``deadline`` on the event loop's clock. Never raises for what SMTP does.

        The message is not begun after the deadline, even if the process was stopped meanwhile: by then the mail may be
        another worker's.
        """
        progress = Progress()
        try:
            async with asyncio.timeout_at(deadline):
                return await self._offer(envelope, progress, deadline)
        except TimeoutError:
            return progress.lost(SILENCE)

    async def _offer(self, envelope: Envelope, progress: Progress, deadline: float) -> Result:
        while True:
            kept = self._take_kept()
            try:
                line = kept or await self._connect()
                with _closed_on_error(line):
                    await converse(line, envelope, progress, deadline)
            except TimeoutError:
                return progress.lost(SILENCE)
            except (SMTPException, OSError) as error:
                if kept is not None and not progress.in_data and _is_disconnection(error):
                    continue  # the server had tired of a connection that lay idle: the next is younger, or new
                return _verdict(error, progress)
            self._keep(line)
            return Accepted()

    def _take_kept(self) -> Line | None:
        while self._idle:
            line, timer = self._idle.popitem()
            timer.cancel()
            if line.is_usable:
                return line
            line.close()
        return None

    async def _connect(self) -> Line:
        client = SMTP(**self._options)
        with _closed_on_error(client):
            try:
                await client.connect(timeout=CONNECT_SECONDS)
                await _introduce(client)
            except SMTPResponseException as reply:
                # A greeting or a login that failed is no verdict on the mail.
                raise SMTPServerDisconnected(f"{reply.code} before the mail") from reply
            if client.transport is None:
                raise SMTPServerDisconnected("gone before the mail")
            transport = cast(asyncio.Transport, client.transport)  # uvloop's own are none by their type
            line = Line(transport, pipelining=client.supports_extension("pipelining"))
            # It knows itself through its protocol, and would lie about until a search for garbage among all objects.
            client.protocol = client.transport = None
            return line

    def _keep(self, line: Line) -> None:
        timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._drop, line)
        self._idle[line] = timer

    def _drop(self, line: Line) -> None:
        del self._idle[line]
        line.close()

    async def close(self) -> None:
        """Closes the connections that are kept."""
        for line, timer in self._idle.items():
            timer.cancel()
            line.close()
        self._idle.clear()


async def _introduce(client: SMTP) -> None:
    """Says who we are, where a login has not done so yet; a server of the old kind knows HELO alone."""
    if client.is_ehlo_or_helo_needed:
        try:
            await client.ehlo()
        except SMTPHeloError:
            await client.helo()


async def converse(line: Line, envelope: Envelope, progress: Progress, deadline: float) -> None:
    """Offers the mail on the line; raises what :meth:`Line.say` raises, and ``TimeoutError`` after the deadline."""
    beyond_ascii = b"" if envelope.recipient.isascii() else b" SMTPUTF8"
    await line.say(
        [
            SmtpCommand(b"MAIL FROM:<%b>%b\r\n" % (envelope.sender.encode(), beyond_ascii), _TAKEN),
            SmtpCommand(b"RCPT TO:<%b>\r\n" % envelope.recipient.encode(), _TAKEN_OR_FORWARDED),
            SmtpCommand(b"DATA\r\n", _GO_ON),
        ]
    )
    if asyncio.get_running_loop().time() >= deadline:
        raise TimeoutError
    progress.in_data = True
    await line.say([SmtpCommand(stuffed(envelope.message), _TAKEN)])


@contextmanager
def _closed_on_error(connection: SMTP | Line) -> Iterator[None]:
    """A conversation that did not end well leaves its connection in a state that nobody knows."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _is_disconnection(error: Exception) -> bool:
    return not isinstance(error, SMTPResponseException) or error.code == SHUTTING_DOWN


def _verdict(error: Exception, progress: Progress) -> Result:
    """What a bad reply, or none, means. Only a reply's code is kept: its text may name the recipient."""
    if not isinstance(error, SMTPResponseException):
        return progress.lost(type(error).__name__)
    reason = f"SMTP {error.code}"
    if 200 <= error.code < 300 and progress.in_data:
        return Accepted()
    if error.code in _OURS_TO_FIX or 400 <= error.code < 500:
        return Deferred(reason=reason)
    if 500 <= error.code < 600:
        return Refused(reason=reason)
    return progress.lost(reason)

"""SMTP: a few connections kept open between mails, and what a server's reply, or its absence, means for a mail."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPResponseException, SMTPServerDisconnected
from pydantic import SecretStr

CONNECT_SECONDS: Final = 5.0
REPLY_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 20.0
"""An unused connection is closed after this; servers close theirs after some minutes."""
SHUTTING_DOWN: Final = 421
SILENCE: Final = "no reply in time"

_PORTS: Final = {"smtp": 25, "starttls": 587, "smtps": 465}
_OURS_TO_FIX: Final = frozenset({530, 534, 535, 538})
"""Permanent replies that speak of our login, not of the mail: it waits until the settings are right."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """A message as it goes over the wire; addresses without names."""

    sender: str
    recipient: str
    message: bytes


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
class _Progress:
    """How far a conversation has come. Before DATA, a lost connection means that nothing was sent."""

    in_data: bool = False

    def lost(self, reason: str) -> Deferred | Unknown:
        return Unknown(reason=reason) if self.in_data else Deferred(reason=reason)


def smtp_options(url: SecretStr) -> dict[str, Any]:
    """aiosmtplib's arguments for ``smtp://`` (no TLS), ``starttls://`` (TLS or nothing) or ``smtps://`` (TLS)."""
    parts = urlsplit(url.get_secret_value())
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("WEIR_SMTP_URL must be smtp://, starttls:// or smtps:// with a host")
    return {
        "hostname": parts.hostname,
        "port": parts.port or _PORTS[parts.scheme],
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "use_tls": parts.scheme == "smtps",
        "start_tls": parts.scheme == "starttls",
    }


class Mailer:
    """Sends mails to one server. As many connections are open as mails are sent at once; some are kept for the next."""

    def __init__(self, url: SecretStr, *, helo: str) -> None:
        self._options = {**smtp_options(url), "local_hostname": helo, "timeout": REPLY_SECONDS}
        self._idle: dict[SMTP, asyncio.TimerHandle] = {}

    async def send(self, envelope: Envelope, *, deadline: float) -> Result:
        """Offers a mail to the server, until ``deadline`` on the event loop's clock. Never raises for what SMTP does.

        DATA is not begun after the deadline, even if the process was stopped meanwhile: by then the mail may be
        another worker's.
        """
        progress = _Progress()
        try:
            async with asyncio.timeout_at(deadline):
                return await self._offer(envelope, progress, deadline)
        except TimeoutError:
            return progress.lost(SILENCE)

    async def _offer(self, envelope: Envelope, progress: _Progress, deadline: float) -> Result:
        while True:
            kept = self._take_kept()
            try:
                client = kept or await self._connect()
                with _closed_on_error(client):
                    await self._converse(client, envelope, progress, deadline)
            except TimeoutError:
                return progress.lost(SILENCE)
            except (SMTPException, OSError) as error:
                if kept is not None and not progress.in_data and _is_disconnection(error):
                    continue  # the server had tired of a connection that lay idle: the next is younger, or new
                return _verdict(error, progress)
            self._keep(client)
            return Accepted()

    def _take_kept(self) -> SMTP | None:
        if not self._idle:
            return None
        client, timer = self._idle.popitem()
        timer.cancel()
        return client

    async def _connect(self) -> SMTP:
        client = SMTP(**self._options)
        with _closed_on_error(client):
            try:
                await client.connect(timeout=CONNECT_SECONDS)
            except SMTPResponseException as reply:
                # A greeting or a login that failed is no verdict on the mail.
                raise SMTPServerDisconnected(f"{reply.code} before the mail") from reply
        return client

    async def _converse(self, client: SMTP, envelope: Envelope, progress: _Progress, deadline: float) -> None:
        options = [] if envelope.recipient.isascii() else ["SMTPUTF8"]
        encoding = "ascii" if envelope.recipient.isascii() else "utf-8"
        await client.mail(envelope.sender, options=options, encoding=encoding)
        await client.rcpt(envelope.recipient, encoding=encoding)
        if asyncio.get_running_loop().time() >= deadline:
            raise TimeoutError
        progress.in_data = True
        await client.data(envelope.message)

    def _keep(self, client: SMTP) -> None:
        timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._drop, client)
        self._idle[client] = timer

    def _drop(self, client: SMTP) -> None:
        del self._idle[client]
        client.close()

    async def close(self) -> None:
        """Closes the connections that are kept."""
        for client, timer in self._idle.items():
            timer.cancel()
            client.close()
        self._idle.clear()


@contextmanager
def _closed_on_error(client: SMTP) -> Iterator[None]:
    """A conversation that did not end well leaves its connection in a state that nobody knows."""
    try:
        yield
    except BaseException:
        client.close()
        raise


def _is_disconnection(error: Exception) -> bool:
    return not isinstance(error, SMTPResponseException) or error.code == SHUTTING_DOWN


def _verdict(error: Exception, progress: _Progress) -> Result:
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

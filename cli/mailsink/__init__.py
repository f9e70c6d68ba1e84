"""``weir mailsink``: takes mail by SMTP, keeps each message as a file before it says 250, shows them in a browser."""

import asyncio
import logging
import secrets
import socket
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Annotated

import typer
import uvicorn
import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session

from cli.listening import listening
from cli.mailsink.mailbox import create_mailbox
from cli.signals import obeyed_once
from infra.host.secret_file import write_private

MOST_KEPT = 50_000
"""Messages in the folder, a few hundred megabytes. The oldest go."""

_HELP = "Take mail by SMTP, keep each message as a file, show them in a browser."


def register(app: typer.Typer) -> None:
    """Add ``weir mailsink``."""
    app.command("mailsink", help=_HELP)(mailsink)


def mailsink(
    directory: Annotated[Path, typer.Option("--dir", help="where the messages go")] = Path(".weir/mail"),
    host: Annotated[str, typer.Option(help="the address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="the SMTP port")] = 1025,
    http_port: Annotated[int, typer.Option(help="the mailbox's port")] = 8025,
) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    with listening(host, port, "--port") as mails, listening(host, http_port, "--http-port") as pages, obeyed_once():
        uvloop.run(receive(directory, mails, pages))


async def receive(directory: Path, mails: socket.socket, pages: socket.socket) -> None:
    """Serve SMTP and the mailbox until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    sink = Sink(directory)
    smtp = await loop.create_server(
        lambda: SMTP(sink, hostname="localhost", enable_SMTPUTF8=True, loop=loop), sock=mails
    )
    async with smtp:
        config = uvicorn.Config(create_mailbox(directory), log_config=None, access_log=False)
        await uvicorn.Server(config).serve([pages])


class Sink:
    """Keeps every message it is given. Named by arrival, so that the names sort by it.

    A sender that died before it heard our 250 offers the message again, and cannot know better. So one that is here
    already, by its Message-ID and every byte, is taken and not kept twice, as mailboxes do that suppress duplicates.
    """

    def __init__(self, directory: Path, *, most: int = MOST_KEPT) -> None:
        self._directory = directory
        self._most = most
        self._kept = {path.stem.rpartition("-")[2]: path.name for path in sorted(directory.glob("*.eml"))}
        self._deleting = Lock()

    async def handle_EHLO(  # noqa: N802 (the hook's name)
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Offer PIPELINING: commands are read from a buffer, one after the other, however they came."""
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]]

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 (the hook's name)
        """Answer 250 once the message would survive a power cut; a passing failure if it cannot be kept."""
        try:
            name = await asyncio.to_thread(self._keep, envelope)
        except OSError as error:
            return f"452 4.3.1 not kept: {error.strerror}"
        return f"250 2.0.0 kept as {name}"

    def _keep(self, envelope: Envelope) -> str:
        message = _trace(envelope) + (envelope.original_content or b"")
        digest = sha256(message).hexdigest()[:16] if b"\nmessage-id:" in message.lower() else secrets.token_hex(8)
        if (known := self._kept.get(digest)) and (self._directory / known).exists():
            return known
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{digest}.eml"
        write_private(self._directory / name, message)  # the links in it open accounts
        self._kept[digest] = name
        self._make_room()
        return name

    def _make_room(self) -> None:
        """What cannot be deleted is let be: the message is kept, and that is what counts."""
        with self._deleting, suppress(OSError):  # messages are kept by several threads
            for digest in list(self._kept)[: -self._most]:
                (self._directory / self._kept.pop(digest)).unlink(missing_ok=True)


def _trace(envelope: Envelope) -> bytes:
    """What the envelope said, which the message itself need not repeat."""
    recipients = ", ".join(envelope.rcpt_tos)
    return f"Return-Path: <{envelope.mail_from}>\r\nX-Envelope-To: {recipients}\r\n".encode(errors="replace")

"""A mail server that does as it is told: takes, refuses, stalls, or hangs up at the worst moment."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default


@dataclass(kw_only=True)
class Turn:
    """How the server answers one mail. ``None`` hangs up instead; ``hold`` makes it wait before the last reply.

    ``freeze`` stops the whole process for that many seconds just before the reply to RCPT, as a SIGSTOP would.
    """

    mail: str | None = "250 ok"
    rcpt: str | None = "250 ok"
    data: str | None = "354 go on"
    end: str | None = "250 taken"
    hold: asyncio.Event | None = None
    freeze: float = 0
    has_message: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A message that the server has read to its end, whatever it answered."""

    recipient: str
    content: bytes
    answered: str | None

    @property
    def message(self) -> EmailMessage:
        return BytesParser(EmailMessage, policy=default).parsebytes(self.content)


class SmtpStub:
    """Takes each mail by the next of ``turns``, and any after those as a good server would."""

    def __init__(self, *, pipelining: bool = True) -> None:
        self._greeting = "250-stub\r\n250 PIPELINING" if pipelining else "250 stub"
        self.turns: deque[Turn] = deque()
        self.seen: list[Delivery] = []
        self.senders: list[str] = []
        self.connections = 0
        self._grown = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self._port}"

    @property
    def taken(self) -> list[Delivery]:
        return [delivery for delivery in self.seen if delivery.answered == "250 taken"]

    async def received(self, count: int, seconds: float = 10) -> list[Delivery]:
        """The messages read so far, once there are that many."""
        async with asyncio.timeout(seconds), self._grown:
            await self._grown.wait_for(lambda: len(self.seen) >= count)
            return self.seen

    async def start(self) -> None:
        """Listen; again on the same port after ``stop``."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.hang_up()
            await self._server.wait_closed()

    def hang_up(self) -> None:
        """Close every open connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn, recipient = Turn(), ""
        await _say(writer, "220 stub")
        while line := (await reader.readline()).decode().strip():
            verb = line.partition(" ")[0].upper()
            if verb == "MAIL":
                self.senders.append(line)
                turn = self.turns.popleft() if self.turns else Turn()
            if verb == "RCPT":
                recipient = line.partition("<")[2].partition(">")[0]
            reply = {"EHLO": self._greeting, "MAIL": turn.mail, "RCPT": turn.rcpt, "DATA": turn.data}.get(
                verb, "250 ok"
            )
            if reply is None:
                return
            if verb == "RCPT":
                time.sleep(turn.freeze)  # noqa: ASYNC251 - it must stop the sender too
            await _say(writer, reply)
            if reply.startswith("354") and not await self._take(reader, writer, turn, recipient):
                return

    async def _take(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, turn: Turn, recipient: str
    ) -> bool:
        content = (await reader.readuntil(b"\r\n.\r\n"))[:-3]
        self.seen.append(Delivery(recipient=recipient, content=content, answered=turn.end))
        turn.has_message.set()
        async with self._grown:
            self._grown.notify_all()
        if turn.hold is not None:
            await turn.hold.wait()
        if turn.end is None:
            return False
        await _say(writer, turn.end)
        return True


async def _say(writer: asyncio.StreamWriter, line: str) -> None:
    writer.write(line.encode() + b"\r\n")
    await writer.drain()


@asynccontextmanager
async def smtp_stub(*, pipelining: bool = True) -> AsyncIterator[SmtpStub]:
    """A server that listens on a free port until the end."""
    stub = SmtpStub(pipelining=pipelining)
    await stub.start()
    try:
        yield stub
    finally:
        await stub.stop()

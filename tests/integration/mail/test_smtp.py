"""A line to a mail server: what goes out together, and what comes back in whatever pieces."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiosmtplib import SMTP
from pydantic import SecretStr

from infra.concurrency.gc_tuning import gc_paused
from infra.mail.mailer import Accepted, Deferred, Envelope, Mailer, Progress, Refused, Result, converse
from infra.mail.smtp_connection import Line, stuffed
from tests.support.garbage import UNDER_UVLOOP
from tests.support.smtp_stub import smtp_stub
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

ENVELOPE = Envelope(sender="shop@weir.example", recipient="ada@example.com", message=b"Subject: x\r\n\r\nx\r\n")
COMMANDS = [b"MAIL FROM:<shop@weir.example>\r\n", b"RCPT TO:<ada@example.com>\r\n", b"DATA\r\n"]

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def mailer_to(talk: Talk, extensions: bytes = b"250 ok\r\n") -> AsyncIterator[Mailer]:
    """A client of a server that greets, and then does as told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"220 hello\r\n")
            await reader.readline()
            writer.write(extensions)
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    mailer = Mailer(SecretStr(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"), helo="weir.example")
    try:
        yield mailer
    finally:
        await mailer.close()
        server.close()
        await server.wait_closed()


async def sent(mailer: Mailer) -> Result:
    return await mailer.send(ENVELOPE, deadline=asyncio.get_running_loop().time() + 5)


async def test_a_server_that_offers_pipelining_gets_all_commands_at_once() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"DATA\r\n") == b"".join(COMMANDS)
        writer.write(b"250 ok\r\n250 ok\r\n354 go on\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 taken\r\n")
        await reader.read()

    async with mailer_to(talk, b"250-me\r\n250 PIPELINING\r\n") as mailer:
        assert await sent(mailer) == Accepted()


async def test_a_server_that_does_not_gets_each_command_after_the_reply_to_the_last() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for command, reply in zip(COMMANDS, (b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"), strict=True):
            assert await reader.read(1000) == command
            writer.write(reply)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 taken\r\n")
        await reader.read()

    async with mailer_to(talk) as mailer:
        assert await sent(mailer) == Accepted()


@UNDER_UVLOOP
async def test_of_a_connection_that_is_closed_nothing_waits_for_a_search_for_garbage() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 ok\r\n250 ok\r\n354 go on\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 taken\r\n")
        await reader.read()

    async def all_gone() -> bool:
        return not any(isinstance(each, SMTP) for each in gc.get_objects())

    gc.collect()  # what earlier tests have left
    with gc_paused():
        async with mailer_to(talk, b"250-me\r\n250 PIPELINING\r\n") as mailer:
            assert await sent(mailer) == Accepted()
        await eventually(all_gone)


async def test_replies_of_many_lines_that_come_in_pieces_are_read_whole() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"DATA\r\n")
        for piece in (b"25", b"0-one\r\n250", b"-two\r\n250 three\r", b"\n250 ok\r\n35", b"4 go on\r\n"):
            writer.write(piece)
            await asyncio.sleep(0.01)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250-taken\r\n250 indeed\r\n")
        await reader.read()

    async with mailer_to(talk, b"250-me\r\n250 PIPELINING\r\n") as mailer:
        assert await sent(mailer) == Accepted()


async def test_a_server_that_goes_on_after_it_refused_is_given_no_message() -> None:
    got = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 ok\r\n550 nobody\r\n354 go on\r\n")
        got.set_result(await reader.read())

    async with mailer_to(talk, b"250-me\r\n250 PIPELINING\r\n") as mailer:
        assert await sent(mailer) == Refused(reason="SMTP 550")
        assert await got == b""


@pytest.mark.parametrize(
    ("noise", "reason"),
    [
        (b"what?\r\n", "SMTP -1"),
        (b"250" * 10_000, "SMTPServerDisconnected"),
        (b"250 ok\r\n" * 100, "SMTPServerDisconnected"),
    ],
    ids=["none", "endless", "many"],
)
async def test_what_is_no_reply_leaves_the_mail_for_later(noise: bytes, reason: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(noise)
        await reader.read()

    async with mailer_to(talk) as mailer:
        assert await sent(mailer) == Deferred(reason=reason)


async def test_a_message_is_not_begun_when_the_replies_come_after_the_deadline() -> None:
    got = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 ok\r\n250 ok\r\n354 go on\r\n")
        got.set_result(await reader.read())
        writer.close()

    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        line, progress = Line(transport, pipelining=True), Progress()
        with pytest.raises(TimeoutError):
            await converse(line, ENVELOPE, progress, loop.time())
        line.close()
        assert await got == b""
    assert not progress.in_data


async def test_a_kept_connection_whose_server_has_said_farewell_is_not_used_again() -> None:
    taken: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 ok\r\n250 ok\r\n354 go on\r\n")
        taken.append(await reader.readuntil(b"\r\n.\r\n"))
        writer.write(b"250 taken\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"421 idle too long\r\n")
        assert await reader.read() == b""

    async with mailer_to(talk, b"250-me\r\n250 PIPELINING\r\n") as mailer:
        assert await sent(mailer) == Accepted()
        await asyncio.sleep(0.1)
        assert await sent(mailer) == Accepted()
        assert len(taken) == 2


async def test_a_server_that_knows_only_helo_is_sent_to_all_the_same() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"HELO weir.example")
        writer.write(b"250 me\r\n")
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
            await reader.readline()
            writer.write(reply)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 taken\r\n")
        await reader.read()

    async with mailer_to(talk, b"502 what?\r\n") as mailer:
        assert await sent(mailer) == Accepted()


async def test_a_local_part_beyond_ascii_asks_for_smtputf8() -> None:
    async with smtp_stub() as stub:
        mailer = Mailer(SecretStr(stub.url), helo="weir.example")
        envelope = Envelope(sender="shop@weir.example", recipient="jörg@example.com", message=b"x\r\n")
        assert await mailer.send(envelope, deadline=asyncio.get_running_loop().time() + 5) == Accepted()
        assert stub.seen[0].recipient == "jörg@example.com"
        assert stub.senders == ["MAIL FROM:<shop@weir.example> SMTPUTF8"]
        await mailer.close()


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"a\r\n", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\n.\r\n..\r\n", b"a\r\n..\r\n..\r\n...\r\n.\r\n"),
    ],
)
def test_a_line_that_begins_with_a_dot_gets_another(message: bytes, wire: bytes) -> None:
    assert stuffed(message) == wire


@pytest.mark.parametrize("message", [b"x", b"x\n", b"a\r\n.\n.\r\n", b"a\rb\r\n", b"a\n\r\n\rb\r\n"])
def test_a_message_that_a_server_could_read_as_two_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match="CR LF"):
        Envelope(sender="shop@weir.example", recipient="ada@example.com", message=message)


@pytest.mark.parametrize("address", ["a@b>\r\nRCPT TO:<c@d", "a@b\nx", "a b@c", "a@b> SIZE=1", "a\0@b"])
def test_an_address_that_could_be_more_than_one_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        Envelope(sender="shop@weir.example", recipient=address, message=b"x\r\n")
    with pytest.raises(ValueError, match="address"):
        Envelope(sender=address, recipient="ada@example.com", message=b"x\r\n")

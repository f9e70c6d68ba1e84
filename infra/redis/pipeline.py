"""A bare connection to Redis for those who send many commands at once: packed bytes out, replies back in bulk.

It is ours, of asyncio's transports and hiredis' reader, because the client library takes each reply by a trip through
the event loop, and knows no messages between the replies.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

import hiredis
from pydantic import SecretStr
from redis.asyncio import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from infra.redis.client import ANSWER_SECONDS, CONNECT_SECONDS
from infra.redis.resp import pack

_PENDING: Final = object()
"""What the reader answers while a reply is not complete."""


class PipelineConnection(asyncio.Protocol):
    """One connection, one question at a time. A reply costs a list append instead of a trip through the event loop.

    The client library reads the URL, with all that it can ask for (TLS, passwords, a name, a database). What nobody
    asked for (messages of a subscription) goes to ``on_push``; ``on_lost`` is told of the connection's end, whoever
    ended it.
    """

    def __init__(self, on_push: Callable[[Any], None] | None = None, on_lost: Callable[[], None] | None = None) -> None:
        self._reader = hiredis.Reader(notEnoughData=_PENDING)
        self._replies: list[Any] = []
        self._wanted = 0
        self._answer: asyncio.Future[list[Any]] | None = None
        self._transport: asyncio.Transport | None = None
        self._on_push = on_push
        self._on_lost = on_lost

    @classmethod
    async def connect(
        cls,
        url: SecretStr,
        on_push: Callable[[Any], None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> "PipelineConnection":
        """A connection that is ready for commands. Raises one of ``BROKEN``."""
        options, wire = _options(url), cls(on_push, on_lost)
        try:
            async with asyncio.timeout(options.socket_connect_timeout):
                await wire._reach(options)
                await wire._greet(options)
        except BaseException as error:
            wire.close()
            if isinstance(error, TimeoutError):
                raise RedisTimeoutError("Timeout connecting to server") from None
            raise
        return wire

    async def _reach(self, options: Connection) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(options, UnixDomainSocketConnection):
            await loop.create_unix_connection(lambda: self, options.path)
        else:
            tls = options.ssl_context.get() if isinstance(options, SSLConnection) else None
            await loop.create_connection(lambda: self, options.host, options.port, ssl=tls)

    async def _greet(self, options: Connection) -> None:
        """Says who we are and which database we mean. The protocol is RESP2, as a server has it for everybody."""
        greeting = _greeting(options)
        for reply in await self.ask(b"".join(greeting), len(greeting)) if greeting else ():
            if isinstance(reply, hiredis.ReplyError):
                raise RedisConnectionError(str(reply))

    @property
    def up(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, commands: bytes, replies: int, seconds: float = ANSWER_SECONDS) -> list[Any]:
        """Sends packed commands and answers their replies; a refusal is a ``hiredis.ReplyError`` in its place.

        Raises one of ``BROKEN`` and closes the wire: a late reply must not pass for the answer to a later question.
        """
        if self._transport is None or self._transport.is_closing() or self._answer is not None:
            raise RedisConnectionError("the wire is closed or in use")
        self._wanted = replies
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(commands)
            async with asyncio.timeout(seconds):
                return await self._answer
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = None

    async def ask_one(self, command: bytes, seconds: float = ANSWER_SECONDS) -> Any:
        """Sends one command; a refusal is raised as ``ResponseError``."""
        (reply,) = await self.ask(command, 1, seconds)
        if isinstance(reply, hiredis.ReplyError):
            raise ResponseError(str(reply))
        return reply

    def send(self, commands: bytes) -> None:
        """Sends packed commands to which nobody waits for a reply: what comes back goes to ``on_push``.

        Over a wire that is closed nothing is: ``on_lost`` tells of that, and whoever hears it may have yet to wake.
        """
        if self._transport is not None and self.up:
            self._transport.write(commands)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _PENDING:
                self._take(reply)
        except hiredis.ProtocolError as error:
            self._fail(RedisConnectionError(str(error)))

    def _take(self, reply: Any) -> None:
        if self._answer is None or self._answer.done():
            if self._on_push is not None:
                self._on_push(reply)
            return
        self._replies.append(reply)
        if len(self._replies) == self._wanted:
            self._answer.set_result(self._replies)
            self._replies = []

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._fail(RedisConnectionError("the connection was lost") if exc is None else exc)
        if self._on_lost is not None:
            self._on_lost()

    def _fail(self, error: Exception) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            cause = error if isinstance(error, RedisError | OSError) else RedisConnectionError(str(error))
            self._answer.set_exception(cause)

    def close(self) -> None:
        """Closes the connection at once."""
        if self._transport is not None:
            with suppress(RuntimeError):  # the event loop may have gone first
                self._transport.abort()


def _options(url: SecretStr) -> Connection:
    """What a URL says of a server and of how to connect to it: the client library's connection, never connected."""
    pool = ConnectionPool.from_url(url.get_secret_value(), socket_connect_timeout=CONNECT_SECONDS)
    options: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
    return options


def _greeting(options: Connection) -> list[bytes]:
    commands = []
    if options.username or options.password:
        user = [options.username] if options.username else []
        commands.append(pack("AUTH", *user, options.password or ""))
    if options.client_name:
        commands.append(pack("CLIENT", "SETNAME", options.client_name))
    if options.db:
        commands.append(pack("SELECT", str(options.db)))
    return commands

"""A bare connection to Redis for those who send many commands at once: packed bytes out, replies back in bulk."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import hiredis
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from infra.redis.client import ANSWER_SECONDS, open_connection

_PENDING: Final = False
"""What hiredis answers while a reply is not complete. In RESP2, which we speak, no reply is False."""


class PipelineConnection(asyncio.Protocol):
    """One connection, one question at a time. A reply costs a list append instead of a trip through the event loop.

    The client library connects, with all that a URL can ask for (TLS, passwords, a database); then this protocol takes
    its socket over. What nobody asked for (messages of a subscription) goes to ``on_push``; ``on_lost`` is told of the
    connection's end, whoever ended it.
    """

    def __init__(self, on_push: Callable[[Any], None] | None = None, on_lost: Callable[[], None] | None = None) -> None:
        self._reader = hiredis.Reader()
        self._replies: list[Any] = []
        self._wanted = 0
        self._answer: asyncio.Future[list[Any]] | None = None
        self._writer: asyncio.StreamWriter | None = None
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
        connection = await open_connection(url)
        # Taken out of it, or it would close the socket when it is collected. No public way leads there; the release is
        # pinned.
        writer, connection._writer, connection._reader = connection._writer, None, None
        if writer is None:
            raise RedisConnectionError("closed while connecting")
        wire = cls(on_push, on_lost)
        wire._writer = writer
        writer.transport.set_protocol(wire)
        return wire

    @property
    def up(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._writer is not None and not self._writer.is_closing()

    async def ask(self, commands: bytes, replies: int, seconds: float = ANSWER_SECONDS) -> list[Any]:
        """Sends packed commands and answers their replies; a refusal is a ``hiredis.ReplyError`` in its place.

        Raises one of ``BROKEN`` and closes the wire: a late reply must not pass for the answer to a later question.
        """
        if self._writer is None or self._writer.is_closing() or self._answer is not None:
            raise RedisConnectionError("the wire is closed or in use")
        self._wanted = replies
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._writer.transport.write(commands)
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
        """Sends packed commands to which nobody waits for a reply: what comes back goes to ``on_push``."""
        if self._writer is not None:
            self._writer.transport.write(commands)

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
        if self._writer is not None:
            with suppress(RuntimeError):  # the event loop may have gone first
                self._writer.transport.abort()

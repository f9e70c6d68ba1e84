"""The doorbell: tells another process that the log has grown. Only a hint, because who listens also looks by itself."""

import asyncio

from pydantic import SecretStr

from infra.observability.origin import nobodys
from infra.redis.client import BROKEN
from infra.redis.pipeline import PipelineConnection
from infra.redis.resp import pack
from infra.redis.topology.connection import connect_to

QUIET_SECONDS = 0.5
"""After a failed ring nobody rings for this long: with Redis away, commits must not pay for it."""


class Doorbell:
    """Rings once for all commits that happen while the ring before is on its way; never waits, never fails.

    After each ring it ``rest``s for so many seconds. ``message`` is what listeners hear.
    """

    def __init__(self, url: SecretStr, channel: str, *, rest: float = 0.0, message: bytes = b"") -> None:
        self._url = url
        self._rest = rest
        self._channel = channel
        self._command = pack("PUBLISH", channel, message)
        self._connection: PipelineConnection | None = None
        self._ringing: asyncio.Task[None] | None = None
        self._again = False
        self._quiet_until = 0.0

    def ring(self) -> None:
        """To be called after a commit."""
        self._again = True
        if self._ringing is None and asyncio.get_running_loop().time() >= self._quiet_until:
            self._ringing = asyncio.create_task(self._ring_until_quiet(), context=nobodys())

    async def close(self) -> None:
        """Waits for the last ring, then hangs up."""
        if self._ringing is not None:
            await self._ringing
        self._hang_up()

    async def _ring_until_quiet(self) -> None:
        try:
            while self._again:
                self._again = False
                await self._ring_once()
                if self._rest:
                    await asyncio.sleep(self._rest)
        except BROKEN:
            # Nobody hears what is rung now: who listens looks by itself, when it can listen again if not before.
            self._quiet_until = asyncio.get_running_loop().time() + QUIET_SECONDS
            self._hang_up()
        finally:
            self._ringing = None

    async def _ring_once(self) -> None:
        if self._connection is not None:
            try:
                await self._connection.ask_one(self._command)
            except BROKEN:
                # It may have gone long ago, with a restart or an idle timeout, and the server be there all the same.
                self._hang_up()
            else:
                return
        self._connection = await connect_to(self._url, self._channel)
        await self._connection.ask_one(self._command)

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

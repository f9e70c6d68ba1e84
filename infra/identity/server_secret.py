"""One secret that all processes share, and the codes derived from it: what it proves need not be stored anywhere."""

import hmac
import os
from hashlib import sha256
from typing import Final

import sqlalchemy as sa

from infra.identity.key_wrapping import KeyWrapping
from infra.identity.stored_secrets import place_of, writing
from infra.postgres.pool import Database
from infra.postgres.statements import Statement
from infra.postgres.tables.identity import server_secret

_PLACE: Final = place_of("server_secret")
_MAKE: Final = Statement(sa.insert(server_secret).values(wrapped=sa.bindparam("wrapped")).inline())
_READ: Final = Statement(sa.select(server_secret.c.wrapped))


class ServerSecret:
    """One process's view of the secret, read or made on first need."""

    def __init__(self, database: Database, wrapping: KeyWrapping) -> None:
        self._database = database
        self._wrapping = wrapping
        self._keyed: hmac.HMAC | None = None

    async def mac(self, purpose: bytes, message: bytes) -> bytes:
        """32 bytes that only we can derive from the message: HMAC-SHA-256. No ``purpose`` has a NUL in it.

        Raises :class:`~infra.errors.Unavailable` if the secret was never read and cannot be now.
        """
        # A copy of what the secret has been put into is quicker than to put it in once more.
        mac = (self._keyed or await self.load()).copy()
        mac.update(b"%b\0%b" % (purpose, message))
        return mac.digest()

    async def load(self) -> hmac.HMAC:
        """Reads the secret now: a process that cannot had better not start. Raises as :meth:`mac` does."""
        row = await self._database.fetchrow(*_READ())
        wrapped = row["wrapped"] if row else None
        self._keyed = hmac.new(self._wrapping.unwrap(wrapped or await self._first(), _PLACE), digestmod=sha256)
        return self._keyed

    async def _first(self) -> str:
        """Makes the secret, unless there is one in clear, which is wrapped by now; of several processes one does."""
        async with writing(self._database, self._wrapping) as connection:
            if (found := await connection.fetchval(*_READ())) is None:
                found = self._wrapping.wrap(os.urandom(32), _PLACE)
                await connection.execute(*_MAKE(wrapped=found))
            return str(found)

"""One secret that all processes share, and the codes derived from it: what it proves need not be stored anywhere."""

import hmac
import os
from hashlib import sha256
from typing import Final

from infra.database import Database

_MAKE: Final = "INSERT INTO server_secret (secret) VALUES ($1) ON CONFLICT DO NOTHING"
_READ: Final = "SELECT secret FROM server_secret"


class ServerSecret:
    """One process's view of the secret, read or made on first need."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keyed: hmac.HMAC | None = None

    async def mac(self, purpose: bytes, message: bytes) -> bytes:
        """32 bytes that only we can derive from the message: HMAC-SHA-256. No ``purpose`` has a NUL in it.

        Raises :class:`~infra.errors.Unavailable` if the secret was never read and cannot be now.
        """
        if self._keyed is None:
            self._keyed = hmac.new(await self._read(), digestmod=sha256)
        # A copy of what the secret has been put into is quicker than to put it in once more.
        mac = self._keyed.copy()
        mac.update(b"%b\0%b" % (purpose, message))
        return mac.digest()

    async def _read(self) -> bytes:
        """Of several processes that make the first secret at once, one does and the others find it."""
        row = await self._database.fetchrow(_READ)
        if row is None:
            await self._database.execute(_MAKE, os.urandom(32))
            row = await self._database.fetchrow(_READ)
        if row is None:
            raise RuntimeError("the server's secret was taken away")
        secret: bytes = row["secret"]
        return secret

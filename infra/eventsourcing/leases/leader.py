"""Leadership: one process at a time, until its lease expires by the database's clock."""

import asyncio
from typing import Final
from uuid import uuid4

from infra.postgres.pool import Database

# A lease that ends much later than any that is given now is of a clock that was set back since. Its owner, if it lives,
# is fenced; leases of another length, as processes with other settings give them, are let be.
_LEAD: Final = """
INSERT INTO leases AS l (name, owner, epoch, expires_at)
VALUES ($1, $2, 1, now() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE
SET owner = $2, epoch = l.epoch + (l.owner IS DISTINCT FROM $2)::integer, expires_at = now() + make_interval(secs => $3)
WHERE l.owner = $2 OR l.expires_at NOT BETWEEN now() AND now() + make_interval(secs => 4 * $3)
RETURNING epoch
"""


class Leader:
    """A lease by name. ``epoch`` is 0 while another process leads."""

    def __init__(self, database: Database, name: str, seconds: float) -> None:
        self.owner = uuid4()
        self.epoch = 0
        self._database = database
        self._name = name
        self._seconds = seconds
        self._renew_at = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to renew: a third of the lease has passed."""
        return asyncio.get_running_loop().time() >= self._renew_at

    async def lead(self) -> bool:
        """Takes or renews the lease; False while another process has it. Raises Unavailable."""
        now = asyncio.get_running_loop().time()
        row = await self._database.returning_row(_LEAD, self._name, self.owner, self._seconds)
        self.epoch = row["epoch"] if row else 0
        self._renew_at = now + self._seconds / 3
        return row is not None

    async def resign(self) -> None:
        """Lets the next one lead at once."""
        self.epoch = 0
        await self._database.execute(
            "UPDATE leases SET expires_at = '-infinity' WHERE name = $1 AND owner = $2", self._name, self.owner
        )

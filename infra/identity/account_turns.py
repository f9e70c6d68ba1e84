"""Turns of an account: to count what it has and to make one more is one thing, which two must not do at once."""

from typing import Final
from uuid import UUID

from infra.postgres.pool import Pooled

# A process that sleeps before its commit loses its transaction: others of the account wait for it.
_TAKE: Final = (
    "SELECT set_config('idle_in_transaction_session_timeout', '1s', true),"
    " pg_advisory_xact_lock(hashtextextended($1, 0))"
)


async def take_turn(connection: Pooled, what: str, account_id: UUID) -> None:
    """Waits until nobody else is at this for the account, up to the end of the caller's transaction."""
    await connection.fetchval(_TAKE, f"{what} {account_id}")

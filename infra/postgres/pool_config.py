"""How a process may use Postgres: where it is, how many connections there may be, and how long each waits."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from pydantic import SecretStr

COMMAND_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 10.0
"""Within a transaction, of whoever has bounds. Those that hold what others wait for have a shorter one besides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolConfig:
    """Where Postgres is, and how many connections one process may have to it.

    ``lock_seconds``: how long a statement may wait for a lock, for those who have other work meanwhile, and whose place
    another takes when they are paused. What such a one leaves behind, a statement or a transaction, the server ends by
    itself. A pooler takes no such settings: where there is one, it is for the database role to have them.
    ``standby``: a server that takes no writes will do. What it says may be old, and whoever asks must look.
    """

    url: SecretStr
    size: int
    pgbouncer: bool = False
    lock_seconds: float | None = None
    standby: bool = False

    @property
    def bounds(self) -> dict[str, str] | None:
        """Settings of a connection, in milliseconds."""
        if not self.lock_seconds or self.pgbouncer:
            return None
        bounds = {
            "lock_timeout": self.lock_seconds,
            "statement_timeout": COMMAND_SECONDS,
            "idle_in_transaction_session_timeout": IDLE_SECONDS,
        }
        return {name: f"{seconds * 1000:.0f}" for name, seconds in bounds.items()}


class PoolUse(NamedTuple):
    """Connections that are lent and that lie idle, the most there may be, who waits for one, who waited in vain."""

    used: int
    idle: int
    most: int
    waiting: int
    refused: int

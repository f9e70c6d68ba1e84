"""Accounts as the log has them now, read on from where this process last read them."""

from typing import Any, Final
from uuid import UUID

from domain.accounts import ACCOUNTS, Account
from infra.database import Database
from infra.event_store import load_streams

REMEMBERED: Final = 10_000


class Accounts:
    """Who may do what at this moment: no read model that lags, and no state that another process has overtaken."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read: dict[UUID, tuple[Account | None, int]] = {}

    async def now(self, account_id: UUID) -> Account | None:
        """The account; None where there is none. Raises :class:`~infra.errors.Unavailable`."""
        account, version = self._read.get(account_id, (ACCOUNTS.initial, 0))
        for past in (await load_streams(self._database, [account_id], {account_id: version}))[account_id]:
            event: Any = past.event
            account, version = ACCOUNTS.evolve(account, event), past.version
        if version:
            self._keep(account_id, account, version)
        return account

    def _keep(self, account_id: UUID, account: Account | None, version: int) -> None:
        if len(self._read) >= REMEMBERED and account_id not in self._read:
            del self._read[next(iter(self._read))]
        if version >= self._read.get(account_id, (None, 0))[1]:
            self._read[account_id] = account, version

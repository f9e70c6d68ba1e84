"""The log that Postgres holds now, as far as this process has heard: one place that knows, and tells all who must."""

from collections.abc import Callable
from contextlib import suppress

import asyncpg
import structlog

from infra.eventsourcing.event_log import EventLog, identify
from infra.postgres.pool import Connection, Database

_log = structlog.get_logger("weir.log")


class CurrentLog:
    """One process's knowledge of which log it serves, and of which history.

    Each new connection says so before anything is asked over it; behind a pooler only those do who look and tell
    :meth:`found`.
    """

    def __init__(self, log: EventLog) -> None:
        self.log, self.history = log, log.history
        self._followers: list[Callable[[EventLog], None]] = []

    @classmethod
    def behind(cls, database: Database, log: EventLog) -> "CurrentLog":
        """The log behind a pool, all of whose new connections are heard."""
        current = cls(log)

        async def look(connection: Connection) -> None:
            # Where there is no log, what is asked there next says so.
            with suppress(asyncpg.UndefinedTableError, LookupError):
                current.found(await identify(connection, log.codec))

        database.follow_connections(look)
        return current

    def follow(self, told: Callable[[EventLog], None]) -> None:
        """Has ``told`` called with each other log, at once when it is found; it must not wait."""
        self._followers.append(told)

    def found(self, log: EventLog) -> None:
        """Postgres holds this one."""
        if log == self.log:
            return
        _log.warning("the log has another history", history=str(log.history))
        self.log, self.history = log, log.history
        for told in self._followers:
            told(log)

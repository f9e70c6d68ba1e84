"""Standbys: how far a server's own log (WAL) is, on which timeline, and whether those have a commit who have to.

Of a primary counts what is on disk, of a standby what it has replayed. Positions are bytes since the cluster was made,
and go on across timelines.
"""

from contextlib import suppress
from typing import Any, Final

import asyncpg

from infra.errors import OutcomeUnknown
from infra.postgres.connect import Connection, Pooled

_WAIT: Final = "SyncRepWaitForLSN"
"""The server's function that waits for a synchronous standby. Its words are in the server's language."""

FLUSHED: Final = "pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"
"""Of a primary. A standby hears of no more than that."""

REPLAYED: Final = (
    "pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END, "
    "'0/0')::bigint"
)
"""Of either. In a snapshot it may say a little more than the snapshot has, by the time since that was taken."""

# A standby that has gone over to another timeline says so in its control file only some time later; the process that
# receives says so at once, to a role that may see it (pg_monitor). Until then it is taken to be on the old one.
REPLAYED_TIMELINE: Final = (
    "(pg_control_system()).system_identifier || ':' || CASE WHEN pg_is_in_recovery() THEN "
    "lpad(upper(to_hex(greatest((pg_control_checkpoint()).timeline_id, "
    "(pg_control_recovery()).min_recovery_end_timeline, (SELECT received_tli FROM pg_stat_wal_receiver)))), 8, '0') "
    "ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
)
"""Of either, as :data:`~infra.postgres.connect.TIMELINE` says it of a primary."""


class StandbyWait:
    """Whether the commits on this connection waited to the end for the standbys that have to have them.

    Who cancels the wait (``pg_cancel_backend``) has the server answer as if nothing were amiss, and warn: the commit is
    there, and would be lost with this server. As a block it insists at the end; a pooled connection is somebody else's
    then.
    """

    def __init__(self, connection: "Connection | Pooled") -> None:
        self._connection = connection
        self._given_up = False
        connection.add_log_listener(self._hear)

    def insist(self) -> None:
        """To be asked behind each commit. Raises :class:`~infra.errors.OutcomeUnknown`."""
        if self._given_up:
            self._given_up = False
            raise OutcomeUnknown("the wait for the standby was cancelled")

    def leave(self) -> None:
        """Listens no more."""
        with suppress(asyncpg.InterfaceError):  # the pool has taken it back because its line broke
            self._connection.remove_log_listener(self._hear)

    def __enter__(self) -> None:
        pass

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        self.leave()
        if failed is None:
            self.insist()

    def _hear(self, _connection: Any, said: Any) -> None:
        self._given_up = self._given_up or said.server_source_function == _WAIT

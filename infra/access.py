"""Access that ends before its token expires: every API process follows the events that end it.

An event counts within two seconds of its commit in every process that can read Postgres: a second until the next look,
and no longer for the look itself. While Postgres is away nothing new can be known, and what is known goes on to count.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import structlog

from domain.accounts import AccountPasswordChanged, AccountSessionEnded, AccountTokenReused
from domain.messages import Event
from infra.codec import MalformedEvent, UnknownEventType, decode
from infra.database import Database
from infra.repeating import repeating
from infra.tokens import Access

LOOK_SECONDS: Final = 1.0
"""Between two looks, and the most that one may take."""

REMEMBER_SECONDS: Final = 960.0
"""Sixteen minutes: a token issued before the event has expired by then, whatever the clocks."""

PAGE: Final = 1000

TYPES: Final = (
    "account.deactivated",
    "account.roles_changed",
    "account.password_changed",
    "account.erased",
    "account.session_ended",
    "account.token_reused",
)
"""What ends access. The index ``events_end_access`` names the same ones, or it would not serve."""

_OF_THESE: Final = (  # noqa: S608 - nothing in it comes from outside
    "SELECT position, stream_id, version, type, schema_version, data,"
    " recorded_at > now() - make_interval(secs => {}) AS recent"
    " FROM events WHERE type IN ({})"
).format(REMEMBER_SECONDS, ", ".join(f"'{name}'" for name in TYPES))
_NEWER: Final = f"{_OF_THESE} AND position > $1 ORDER BY position LIMIT $2"
_OLDER: Final = f"{_OF_THESE} AND position < $1 ORDER BY position DESC LIMIT $2"
_BEYOND: Final = 2**63 - 1

_log = structlog.get_logger("weir.access")


@dataclass(frozen=True, slots=True)
class Cut:
    """What an account's tokens must be younger than, in versions of its stream.

    ``version`` counts for all but the session ``kept``, and ``kept_version`` for that one: it is what the events said
    that did not keep it.
    """

    version: int
    kept: UUID | None
    kept_version: int
    until: float

    def then(self, version: int, kept: UUID | None, until: float) -> "Cut":
        """Both this and a later event of the account."""
        return Cut(version, kept, self.kept_version if kept == self.kept else self.version, until)

    def ends(self, access: Access) -> bool:
        """Whether the token was issued before what counts for its session."""
        return access.version < (self.kept_version if access.session_id == self.kept else self.version)


class Revocations:
    """One process's knowledge of what has ended. Holds what happened in the last sixteen minutes, and no more."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cuts: dict[UUID, Cut] = {}
        self._sessions: dict[UUID, float] = {}
        self._position: int | None = None

    def ended(self, access: Access) -> bool:
        """Whether the access that a token gave has ended since: two look-ups, no waiting."""
        if access.session_id in self._sessions:
            return True
        cut = self._cuts.get(access.account_id)
        return cut is not None and cut.ends(access)

    def following(self) -> AbstractAsyncContextManager[None]:
        """Looks every second until the block ends."""
        return repeating("follow revocations", self.look, LOOK_SECONDS)

    async def look(self) -> None:
        """Takes in what has happened since the last look, or before the first one in the last sixteen minutes.

        Raises :class:`~infra.errors.Unavailable`.
        """
        if self._position is None:
            self._take(await self._recent())
        while self._take(await self._fetch(_NEWER, self._position or 0)) == PAGE:
            pass
        self._forget()

    async def _recent(self) -> list[Any]:
        """What has happened lately, read from the newest back."""
        found: list[Any] = []
        before = _BEYOND
        while rows := await self._fetch(_OLDER, before):
            # Older ones among them do no harm: no token is as old as they are.
            found += rows
            if len(rows) < PAGE or not rows[-1]["recent"]:
                break
            before = rows[-1]["position"]
        return found[::-1]

    async def _fetch(self, statement: str, position: int) -> list[Any]:
        async with self._database.acquire() as connection:
            return await connection.fetch(statement, position, PAGE, timeout=LOOK_SECONDS)

    def _take(self, rows: Sequence[Any]) -> int:
        """How many there were."""
        self._position = rows[-1]["position"] if rows else self._position or 0
        for row in rows:
            self._end(row["stream_id"], row["version"], _event(row))
        return len(rows)

    def _end(self, account_id: UUID, version: int, event: Event | None) -> None:
        match event:
            case AccountSessionEnded(session_id=session_id) | AccountTokenReused(session_id=session_id):
                self._sessions.pop(session_id, None)
                self._sessions[session_id] = _until()
            case AccountPasswordChanged(kept_session=kept):
                self._cut(account_id, version, kept)
            case _:
                self._cut(account_id, version, None)

    def _cut(self, account_id: UUID, version: int, kept: UUID | None) -> None:
        """What is newest stands last, so that what is to be forgotten stands first."""
        known = self._cuts.pop(account_id, None)
        until = _until()
        self._cuts[account_id] = known.then(version, kept, until) if known else Cut(version, kept, 0, until)

    def _forget(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._sessions and self._sessions[first := next(iter(self._sessions))] < now:
            del self._sessions[first]
        while self._cuts and self._cuts[first := next(iter(self._cuts))].until < now:
            del self._cuts[first]


def _until() -> float:
    return asyncio.get_running_loop().time() + REMEMBER_SECONDS


def _event(row: Any) -> Event | None:
    """The event; None where a newer release wrote it in a shape not known here, which then ends all there is."""
    try:
        return decode(row["type"], row["schema_version"], row["data"])
    except (UnknownEventType, MalformedEvent) as error:
        _log.warning("unreadable, so all access of the account ends", type=row["type"], error=str(error))
        return None

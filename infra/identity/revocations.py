"""Access that ends before its token expires: every API process follows the events that end it.

A process knows at once what it has stored itself. Of what others store it is told (:mod:`infra.identity.access_news`)
and then looks at the log, which alone is believed; and it looks once a second anyway. So an event counts everywhere a
fraction of a second after its commit, and where no news arrives within two seconds in every process that can read
Postgres: a second until the next look, and no longer for the look itself. While Postgres is away nothing new can be
known, and what is known goes on to count.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import sqlalchemy as sa
import structlog

from domain.accounts import Ending, Revocation, ending
from infra.concurrency.periodic import repeating
from infra.eventsourcing.codec import MalformedEvent, UnknownEventType
from infra.eventsourcing.current_log import CurrentLog
from infra.identity.access_tokens import Access
from infra.postgres.pool import Database
from infra.postgres.statements import NOW, Statement
from infra.postgres.tables.log import ENDS_ACCESS, ends_access, events

LOOK_SECONDS: Final = 1.0
"""Between two looks, and the most that one may take."""

REST_SECONDS: Final = 0.05
"""Between two looks that somebody asked for: all who ask meanwhile share the second."""

REMEMBER_SECONDS: Final = 960.0
"""Sixteen minutes: a token issued before the event has expired by then, whatever the clocks."""

PAGE: Final = 1000

TYPES: Final = ENDS_ACCESS
"""What ends access."""

_ended: Final = sa.select(
    events.c.position,
    sa.func.microseconds(events.c.recorded_at).label("recorded"),
    events.c.stream_id,
    events.c.version,
    events.c.type,
    events.c.schema_version,
    events.c.data,
    (events.c.recorded_at > NOW - timedelta(seconds=REMEMBER_SECONDS)).label("recent"),
).where(ends_access)
_position: Final = sa.bindparam("position", type_=sa.BigInteger)
_FROM: Final = Statement(
    _ended.where(events.c.position >= _position).order_by(events.c.position).limit(sa.bindparam("page"))
)
_OLDER: Final = Statement(
    _ended.where(events.c.position < _position).order_by(events.c.position.desc()).limit(sa.bindparam("page"))
)
_BEYOND: Final = 2**63 - 1

_log = structlog.get_logger("weir.access")


Last: TypeAlias = tuple[int, int]
"""Which event was read last: its position, and its time in microseconds."""

EndedAccess: TypeAlias = tuple[UUID, Ending]
"""Whose access has ended, and what of it."""


class Stored(NamedTuple):
    """One event of :data:`TYPES` in an account's stream, as whoever has stored it tells of it."""

    account_id: UUID
    version: int
    type: str
    schema_version: int
    data: bytes


class Revocations:
    """One process's knowledge of what has ended. Holds what happened in the last sixteen minutes, and no more.

    What it is told twice, or late, changes nothing. What this process has stored is provisional until a look that began
    later has read it: the server that took it may be gone, and the event with it.
    """

    def __init__(self, database: Database, log: CurrentLog) -> None:
        self._database = database
        self._log = log
        log.follow(lambda _: self._news.set())
        self._cuts: dict[UUID, tuple[Revocation, float]] = {}
        self._ended: dict[UUID, float] = {}
        self._provisional: list[EndedAccess] = []
        self._last: Last | None = None
        self._news = asyncio.Event()

    def ended(self, access: Access) -> bool:
        """Whether the access that a token gave has ended since: two look-ups, no waiting.

        In another history of the log its version may mean another event, and what ended the token be no later than it.
        """
        if access.session_id in self._ended or access.history != self._log.history:
            return True
        cut = self._cuts.get(access.account_id)
        return cut is not None and cut[0].ends(access.session_id, access.version)

    def key_ended(self, key_id: UUID) -> bool:
        """Whether the API key has been revoked lately."""
        return key_id in self._ended

    def changed(self, account_id: UUID, version: int) -> bool:
        """Whether what the account may do has changed since its stream was at that version."""
        cut = self._cuts.get(account_id)
        return cut is not None and cut[0].version > version

    def stored(self, events: Sequence[Stored]) -> None:
        """This process has stored these, all of :data:`TYPES`: they count before anybody is answered."""
        told = [
            (each.account_id, self._ending(each.version, each.type, each.schema_version, each.data)) for each in events
        ]
        self._provisional += told
        for each in told:
            self._end(*each)

    def following(self) -> AbstractAsyncContextManager[None]:
        """Looks every second, and soon after each piece of news, until the block ends."""
        return repeating("follow revocations", self.look, LOOK_SECONDS, sooner=self._news, rest=REST_SECONDS)

    def opened(self) -> None:
        """Others are heard from here on; what they said before was not."""
        self._news.set()

    def announced(self, message: Mapping[str, Any]) -> None:  # noqa: ARG002 - what there is, the log says
        """Another process has stored something."""
        self._news.set()

    def lost(self) -> None:
        """Others are not heard for now. The looks go on."""

    async def look(self) -> None:
        """Takes in what has happened since the last look, or before the first one in the last sixteen minutes.

        Raises :class:`~infra.errors.Unavailable`.
        """
        mine = self._provisional[:]
        read, whole = await self._news_or_all()
        if not whole and any(each not in read for each in mine):
            # The log does not hold what this process had stored before it was asked, or not behind what was read last.
            await self._begin_anew()
        del self._provisional[: len(mine)]
        self._forget()

    async def _news_or_all(self) -> tuple[Collection[EndedAccess], bool]:
        """Takes in what has happened since the last event that is known; answers what that was, or that it was all.

        That one is read once more. Where the log does not hold that very event, a standby took over that had not heard
        of it, and what is known may never have been.
        """
        told: set[EndedAccess] = set()
        while (last := self._last) is not None:
            rows = await self._fetch(_FROM, last[0])
            if _last(rows[:1]) != last:
                break
            told.update(self._take(rows[1:]))
            if len(rows) < PAGE:
                return told, False
        await self._begin_anew()
        return told, True

    async def _begin_anew(self) -> None:
        """Nothing of what was known counts but what the log holds lately, and what was stored since it was asked."""
        before = len(self._provisional)
        rows = await self._recent()
        self._cuts.clear()
        self._ended.clear()
        self._last = None
        self._take(rows)
        for each in self._provisional[before:]:
            self._end(*each)

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

    async def _fetch(self, statement: Statement, position: int) -> list[Any]:
        async with self._database.acquire() as connection:
            return await connection.fetch(*statement(position=position, page=PAGE), timeout=LOOK_SECONDS)

    def _take(self, rows: Sequence[Any]) -> Sequence[EndedAccess]:
        told = [
            (row["stream_id"], self._ending(row["version"], row["type"], row["schema_version"], row["data"]))
            for row in rows
        ]
        for each in told:
            self._end(*each)
        self._last = _last(rows) or self._last
        return told

    def _ending(self, version: int, kind: str, schema_version: int, data: bytes) -> Ending:
        """What the event ends; where a newer release wrote it in a shape not known here, all access of the account."""
        try:
            return ending(version, self._log.log.codec.decode(kind, schema_version, data)) or Revocation(version)
        except (UnknownEventType, MalformedEvent) as error:
            _log.warning("unreadable, so all access of the account ends", type=kind, error=str(error))
            return Revocation(version)

    def _end(self, account_id: UUID, what: Ending) -> None:
        """What is newest stands last, so that what is to be forgotten stands first."""
        until = asyncio.get_running_loop().time() + REMEMBER_SECONDS
        if isinstance(what, Revocation):
            known, _ = self._cuts.pop(account_id, (Revocation(), 0.0))
            self._cuts[account_id] = known.then(what), until
        else:
            self._ended.pop(what, None)
            self._ended[what] = until

    def _forget(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._ended and self._ended[first := next(iter(self._ended))] < now:
            del self._ended[first]
        while self._cuts and self._cuts[first := next(iter(self._cuts))][1] < now:
            del self._cuts[first]


def _last(rows: Sequence[Any]) -> Last | None:
    return (rows[-1]["position"], rows[-1]["recorded"]) if rows else None

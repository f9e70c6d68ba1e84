"""Verification of API keys: asked of Postgres at most once a second for each key, however often it comes."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from hmac import compare_digest
from typing import Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa
import structlog

from infra.concurrency.cancellation import cancel_and_wait, take_note
from infra.identity.api_keys.format import InvalidApiKey, Shown, read
from infra.identity.api_keys.store import is_live
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database
from infra.postgres.statements import NOW, Statement
from infra.postgres.tables.identity import api_keys

REMEMBER_SECONDS: Final = 1.0
"""A key that is revoked, or an account that loses its roles, counts this much longer where no news arrives."""

LOOK_SECONDS: Final = 1.0
"""How long a look may take before Postgres counts as down."""

REMEMBERED: Final = 10_000

_is_it: Final = api_keys.c.key_id == sa.bindparam("key_id")
_lately: Final = NOW - timedelta(minutes=1)
_FIND: Final = Statement(
    sa.select(
        api_keys.c.account_id,
        api_keys.c.digest,
        api_keys.c.scopes,
        sa.func.coalesce(api_keys.c.last_used_at < _lately, sa.true()).label("unnoted"),
    ).where(_is_it, is_live)
)
_NOTE: Final = Statement(
    sa.update(api_keys)
    .values(last_used_at=NOW)
    .where(_is_it, api_keys.c.last_used_at.is_(None) | (api_keys.c.last_used_at < _lately))
)

Allowed = Callable[[UUID, UUID], Awaitable[tuple[frozenset[str], int] | None]]
"""What an account may do now by one of its keys, and the version of its stream; None if it may do nothing at all."""

_log = structlog.get_logger("weir.api_keys")


class Bearer(NamedTuple):
    """Who is asking, proven by an API key, and what they may do as of a version of the account's stream."""

    account_id: UUID
    key_id: UUID
    scopes: frozenset[str]
    version: int


class _Answer(NamedTuple):
    bearer: "asyncio.Task[Bearer]"
    until: float

    def is_from(self, version: int) -> bool:
        """Whether it is there, and of that version or an older one."""
        task = self.bearer
        return task.done() and not task.cancelled() and not task.exception() and task.result().version <= version


class ApiKeys:
    """Verifies API keys. One per process."""

    def __init__(self, database: Database, allowed: Allowed) -> None:
        self._database = database
        self._allowed = allowed
        self._answers: dict[str, _Answer] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def verify(self, text: str, *, since: int = -1) -> Bearer:
        """Who the key speaks for: with its own scopes, as far as the account has them still.

        What is known of the account at version ``since`` of its stream, or before, is not good enough.

        Raises :class:`InvalidApiKey` and :class:`~infra.errors.Unavailable`.
        """
        shown = read(text)
        now = asyncio.get_running_loop().time()
        answer = self._answers.get(text)
        if answer is None or answer.until <= now or answer.is_from(since):
            if len(self._answers) >= REMEMBERED:
                self._forget(now)
            looking = asyncio.create_task(self._look(shown))
            looking.add_done_callback(take_note)
            answer = self._answers[text] = _Answer(looking, now + REMEMBER_SECONDS)
        # Shielded: one who hangs up must not take the others' answer away.
        return await asyncio.shield(answer.bearer)

    async def close(self) -> None:
        """Gives up what is under way."""
        await cancel_and_wait(*self._notes, *(answer.bearer for answer in self._answers.values()))

    async def _look(self, shown: Shown) -> Bearer:
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(*_FIND(key_id=shown.key_id), timeout=LOOK_SECONDS)
        if row is None or not compare_digest(row["digest"], shown.digest):
            raise InvalidApiKey
        account_id = UUID(int=row["account_id"].int)
        allowed = await self._allowed(account_id, shown.key_id)
        if allowed is None:
            raise InvalidApiKey
        scopes, version = allowed
        if row["unnoted"]:
            noting = asyncio.create_task(self._note(shown.key_id))
            self._notes.add(noting)
            noting.add_done_callback(self._notes.discard)
        return Bearer(account_id, shown.key_id, scopes & frozenset(row["scopes"]), version)

    async def _note(self, key_id: UUID) -> None:
        """That the key was used just now: worth knowing, but nothing waits for it or fails with it."""
        try:
            await self._database.execute(*_NOTE(key_id=key_id))
        except PASSING as error:
            _log.warning("the use of an API key was not noted", error=str(error))

    def _forget(self, now: float) -> None:
        """Makes room: what has run out goes, and if that is not enough, everything."""
        live = {text: answer for text, answer in self._answers.items() if answer.until > now}
        self._answers = live if len(live) < REMEMBERED else {}

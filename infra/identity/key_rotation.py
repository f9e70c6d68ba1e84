"""Signing keys that take turns: a new one comes in, the one before it goes out, and no token is refused meanwhile.

::

    made ──────▶ signs ──────────────────────▶
       LEAD_SECONDS   the one before ──▶ retired
                         RETIRE_SECONDS
"""

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from infra.identity.access_tokens import LEEWAY_SECONDS, LONGEST_LIFE
from infra.identity.key_wrapping import KeyWrapping
from infra.identity.signing_keys import FRESH_SECONDS, generate, wrapped
from infra.identity.stored_secrets import CLEAR_SECONDS, writing
from infra.postgres.pool import Database, Pooled
from infra.postgres.statements import CLOCK, Statement
from infra.postgres.tables.identity import signing_keys

LEAD_SECONDS: Final = 5.0
"""From the moment a key is published until it signs.

A process meets its first token either knowing the key already or, not having looked for a second, looks then: it needs
no more than that second. The rest is for who is slow.
"""

LONGEST_LEAD: Final = 86_400.0

RETIRE_SECONDS: Final = FRESH_SECONDS + LONGEST_LIFE + 5 * LEEWAY_SECONDS
"""From then on until the key before it stops verifying: a process may sign with it until it has to look again, and what
it signed lives for fifteen minutes, by clocks that may differ."""

_verifies: Final = signing_keys.c.retired_at.is_(None) | (signing_keys.c.retired_at > CLOCK)
_KEYS: Final = Statement(
    sa.select(
        signing_keys.c.kid,
        signing_keys.c.created_at,
        signing_keys.c.activates_at,
        signing_keys.c.retired_at,
        (signing_keys.c.activates_at > CLOCK).label("waiting"),
    )
    .where(_verifies)
    .order_by(signing_keys.c.activates_at.desc(), signing_keys.c.kid)
)
_REVOKE: Final = Statement(
    sa.update(signing_keys)
    .values(retired_at=CLOCK)
    .where(signing_keys.c.kid == sa.bindparam("kid"), _verifies)
    .returning(signing_keys.c.kid)
)
# Of two live keys only one is there to stay: if it waits and the other is revoked, its turn has come.
_PROMOTE: Final = Statement(
    sa.update(signing_keys)
    .values(activates_at=sa.func.least(signing_keys.c.activates_at, CLOCK))
    .where(signing_keys.c.retired_at.is_(None))
    .returning(signing_keys.c.kid)
)
_lead: Final = sa.bindparam("lead", type_=sa.Interval)
_FORGET_RETIRED: Final = Statement(sa.delete(signing_keys).where(signing_keys.c.retired_at <= CLOCK))
_RETIRE: Final = Statement(sa.update(signing_keys).values(retired_at=CLOCK + _lead))
_ADD: Final = Statement(
    sa.insert(signing_keys).values(
        kid=sa.bindparam("kid"),
        wrapped=sa.bindparam("wrapped"),
        created_at=CLOCK,
        activates_at=CLOCK + _lead,
    )
)
# A key that lies in clear is for the release before, and goes CLEAR_SECONDS after it was wrapped.
_CLEAR: Final = Statement(
    sa.select(sa.func.max(signing_keys.c.wrapped_at) + timedelta(seconds=CLEAR_SECONDS)).where(
        signing_keys.c.private_pem.is_not(None), _verifies
    )
)


class OlderRelease(Exception):
    """Processes of the release before may be running. They could not read a new key, and with it none."""

    def __init__(self, until: datetime) -> None:
        super().__init__(
            f"processes of the release before may be running, and could not read a new key: rotate after"
            f" {until:%Y-%m-%d %H:%M:%S}Z, or say with `weir keys rewrap` that there are none"
        )


class TwoAreLive(Exception):
    """A third key must wait until the older of the two has retired."""

    def __init__(self, retires_at: datetime) -> None:
        super().__init__(f"two keys are live; the older one retires at {retires_at:%Y-%m-%d %H:%M:%S}Z")
        self.retires_at = retires_at


class NoSuchKey(Exception):
    """No key of this id verifies."""

    def __init__(self, kid: str) -> None:
        super().__init__(f"no key {kid[:100]} is in use")


class LiveKey(NamedTuple):
    """A key that verifies. ``waiting`` while it does not sign yet; ``retires_at`` once another takes its place."""

    kid: str
    created_at: datetime
    activates_at: datetime
    retires_at: datetime | None
    waiting: bool


async def listed(database: Database) -> list[LiveKey]:
    """The keys that verify, the newest first."""
    return _live(await database.fetch(*_KEYS()))


async def rotate(database: Database, wrapping: KeyWrapping, *, lead: float = LEAD_SECONDS) -> LiveKey:
    """Makes a key that signs ``lead`` seconds from now; the one before verifies on until its tokens have expired.

    Keys that have retired are deleted. Raises :class:`TwoAreLive`, :class:`OlderRelease`, and what
    :func:`~infra.identity.stored_secrets.writing` raises.
    """
    async with writing(database, wrapping) as connection:
        if until := await connection.fetchval(*_CLEAR()):
            raise OlderRelease(until)
        live = _live(await connection.fetch(*_KEYS()))
        if len(live) > 1:
            raise TwoAreLive(live[-1].retires_at or live[-1].activates_at)
        await _replace(connection, wrapping, lead if live else 0.0)
        return _live(await connection.fetch(*_KEYS()))[0]


async def revoke(database: Database, wrapping: KeyWrapping, kid: str) -> LiveKey:
    """Ends a key at once, because somebody may have it: what it signed is refused as soon as processes look again.

    Answers the key that signs from now on: the one that waits for its turn, or a new one. That cannot wait for
    processes of the release before, which sign nobody in from then on. Raises :class:`NoSuchKey`, and what
    :func:`~infra.identity.stored_secrets.writing` raises.
    """
    async with writing(database, wrapping) as connection:
        if not await connection.fetchval(*_REVOKE(kid=kid)):
            raise NoSuchKey(kid)
        if not await connection.fetchval(*_PROMOTE()):
            await _add(connection, wrapping, 0.0)
        return _live(await connection.fetch(*_KEYS()))[0]


async def _replace(connection: Pooled, wrapping: KeyWrapping, lead: float) -> None:
    """The clock is read here and not when the transaction began, for it may have waited for its lock."""
    await connection.execute(*_FORGET_RETIRED())
    await connection.execute(*_RETIRE(lead=timedelta(seconds=lead + RETIRE_SECONDS)))
    await _add(connection, wrapping, lead)


async def _add(connection: Pooled, wrapping: KeyWrapping, lead: float) -> None:
    key = generate()
    added = _ADD(kid=key.kid, wrapped=wrapped(key, wrapping), lead=timedelta(seconds=lead))
    await connection.execute(*added)


def _live(rows: list[Any]) -> list[LiveKey]:
    return [LiveKey(*row) for row in rows]

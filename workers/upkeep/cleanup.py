"""Deletes what was only to be kept for a while."""

from collections.abc import Mapping
from datetime import timedelta
from time import monotonic
from typing import Any, Final, Protocol

import structlog

from infra.eventsourcing.store import idempotency_keys
from infra.identity import credentials
from infra.identity.api_keys import store as api_keys
from infra.identity.sessions import statements as sessions
from infra.mail import retention as mails
from infra.postgres.pool import Database
from infra.postgres.retention import Sweep
from infra.webhooks import delivery_log

SECONDS: Final = 40.0
"""For one job; what is left waits for the next, a minute later."""

_log = structlog.get_logger("weir.forgetting")


class Sweeping(Protocol):
    """Deletes some rows of one kind with each step, and says whether there may be more."""

    forgotten: int

    async def step(self, database: Database) -> bool: ...


def sweeps(mail_kept_days: float) -> dict[str, Sweeping]:
    """A sweep of everything that is only to be kept for a while, by what its log line calls it."""
    return {
        "outcomes": Sweep(idempotency_keys.OLD, idempotency_keys.KEPT_FOR),
        "passwords without an account": credentials.OrphanSweep(),
        "sessions": Sweep(sessions.OLD, sessions.ENDED_FOR),
        "api keys": Sweep(api_keys.OLD, api_keys.KEPT_FOR),
        "deliveries of webhooks": Sweep(delivery_log.OLD, delivery_log.KEPT_FOR),
        "mails": Sweep(mails.OLD, timedelta(days=mail_kept_days)),
    }


async def forget_old_rows(ctx: dict[str, Any]) -> None:
    """The job: all of them."""
    await carry_out(ctx["database"], sweeps(ctx["mail_kept_days"]))


async def carry_out(database: Database, started: Mapping[str, Sweeping], *, seconds: float = SECONDS) -> None:
    """A step of each in turn: none waits until another has caught up, which may take hours after years."""
    until = monotonic() + seconds
    going = dict(started)
    try:
        while going and monotonic() < until:
            going = {name: sweep for name, sweep in going.items() if await sweep.step(database)}
    finally:
        for name, sweep in started.items():
            if sweep.forgotten:
                _log.info(f"{name} forgotten", count=sweep.forgotten)

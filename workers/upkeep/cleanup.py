"""Deletes what was only to be kept for a while."""

from typing import Any

import structlog

from infra.eventsourcing.store.idempotency_keys import forget_old
from infra.identity import credentials
from infra.postgres.pool import Database
from infra.webhooks import delivery_log

_log = structlog.get_logger("weir.forgetting")


async def forget_commands(ctx: dict[str, Any]) -> None:
    """The job: outcomes that nobody may ask for any more, passwords without an account, what webhooks were sent."""
    database: Database = ctx["database"]
    if forgotten := await forget_old(database):
        _log.info("outcomes forgotten", count=forgotten)
    if orphans := await credentials.forget_orphans(database):
        _log.info("passwords without an account forgotten", count=orphans)
    if deliveries := await delivery_log.forget_old(database):
        _log.info("deliveries of webhooks forgotten", count=deliveries)

"""Deletes what was only to be kept for a while."""

from typing import Any

import structlog

from infra import credentials
from infra.database import Database
from infra.kept_commands import forget_old

_log = structlog.get_logger("weir.forgetting")


async def forget_commands(ctx: dict[str, Any]) -> None:
    """The job: outcomes that nobody may ask for any more, and passwords of accounts that never came to be."""
    database: Database = ctx["database"]
    if forgotten := await forget_old(database):
        _log.info("outcomes forgotten", count=forgotten)
    if orphans := await credentials.forget_orphans(database):
        _log.info("passwords without an account forgotten", count=orphans)

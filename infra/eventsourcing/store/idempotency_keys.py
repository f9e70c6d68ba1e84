"""Outcomes that are kept for clients who repeat themselves: for a day, and then no longer."""

from datetime import timedelta
from typing import Final

from infra.postgres.retention import Retention
from infra.postgres.tables.log import commands

KEPT_FOR: Final = timedelta(hours=24)
OLD: Final = Retention(table=commands, since=commands.c.recorded_at)

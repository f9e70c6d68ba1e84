"""The write side as a process opens it: the command handler over the appender over the doorbell."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final

from prometheus_client import CollectorRegistry

from infra.command_handler import CommandHandler
from infra.database import Database
from infra.doorbell import Doorbell
from infra.event_store import Appender
from infra.log import Log
from infra.metrics import RaceMetrics
from infra.settings import Settings
from infra.streams import Keys

TIPS: Final = 20_000
IN_BULK: Final = 64
"""Requests of a batch that nobody waits for: others wait no longer for the log than for two of these."""
BULK_PATIENCE: Final = 10.0
BULK_REST: Final = 0.02
"""Seconds between two rings: each is as dear as a dozen commands, and the relay has enough to do after one."""
BULK_TIPS: Final = 1_000


def open_write_side(
    stack: AsyncExitStack, settings: Settings, database: Database, log: Log, registry: CollectorRegistry
) -> CommandHandler:
    """Opens it until the stack is closed."""
    open_appender = _appenders(stack, settings, database, log, largest_batch=settings.append_batch)
    handler = _opened(stack, database, log, open_appender(), tips=TIPS)
    RaceMetrics(registry, handler.races)
    return handler


def open_bulk_write_side(stack: AsyncExitStack, settings: Settings, database: Database, log: Log) -> CommandHandler:
    """One for thousands of commands that nobody waits for, beside the one for those that somebody does.

    Small batches, two at once and with much patience; few rings, and few tips: the streams that it begins are not
    written to again.
    """
    most = min(IN_BULK, settings.append_batch)
    open_appender = _appenders(
        stack, settings, database, log, rest=BULK_REST, largest_batch=most, patience=BULK_PATIENCE
    )
    return _opened(stack, database, log, open_appender(), tips=BULK_TIPS, spare=open_appender())


def _opened(stack: AsyncExitStack, database: Database, log: Log, appender: Appender, **kept: Any) -> CommandHandler:
    handler = CommandHandler(database, appender, shards=log.shards, **kept)
    stack.push_async_callback(handler.close)
    return handler


def _appenders(
    stack: AsyncExitStack, settings: Settings, database: Database, log: Log, *, rest: float = 0.0, **batches: Any
) -> Callable[[], Appender]:
    """What opens appenders that share a doorbell."""
    doorbell = Doorbell(settings.redis_url, Keys.of(log.log_id).doorbell, rest=rest)
    stack.push_async_callback(doorbell.close)

    def opened() -> Appender:
        appender = Appender(database, timeout=settings.append_timeout, on_stored=doorbell.ring, **batches)
        stack.push_async_callback(appender.close)
        return appender

    return opened

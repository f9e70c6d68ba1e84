"""The write side as a process opens it: the command handler over the appender over the doorbell."""

from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from infra.command_handler import CommandHandler
from infra.database import Database
from infra.doorbell import Doorbell
from infra.event_store import Appender
from infra.log import Log
from infra.metrics import RaceMetrics
from infra.settings import Settings
from infra.streams import Keys


def open_write_side(
    stack: AsyncExitStack, settings: Settings, database: Database, log: Log, registry: CollectorRegistry
) -> CommandHandler:
    """Opens it until the stack is closed."""
    doorbell = Doorbell(settings.redis_url, Keys.of(log.log_id).doorbell)
    stack.push_async_callback(doorbell.close)
    appender = Appender(
        database, timeout=settings.append_timeout, largest_batch=settings.append_batch, on_stored=doorbell.ring
    )
    stack.push_async_callback(appender.close)
    handler = CommandHandler(database, appender, shards=log.shards)
    RaceMetrics(registry, handler.races)
    stack.push_async_callback(handler.close)
    return handler

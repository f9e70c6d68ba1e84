"""The write side as a process opens it: the command handler over the appender over the doorbell."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from prometheus_client import CollectorRegistry

from domain.orders import UNPAID
from domain.rooms import INVITATION, MEMBERSHIP
from domain.webhooks import MOST_WEBHOOKS, WEBHOOK
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.commands.metrics import RaceMetrics
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.relay.append_notifier import Doorbell
from infra.eventsourcing.store import Appender, AppendRequest, Limit, Limits
from infra.eventsourcing.store.append_metrics import append_metrics
from infra.identity.access_news import AccessNews, Observer
from infra.postgres.pool import Database
from infra.redis.keyspace import Keyspace
from infra.settings import Settings

STREAMS: Final = 20_000
IN_BULK: Final = 64
"""Requests of a batch that nobody waits for: others wait no longer for the log than for two of these."""
BULK_PATIENCE: Final = 10.0
BULK_REST: Final = 0.02
"""Seconds between two rings: each is as dear as a dozen commands, and the relay has enough to do after one."""
BULK_STREAMS: Final = 1_000


def open_write_side(
    stack: AsyncExitStack,
    settings: Settings,
    database: Database,
    log: EventLog,
    registry: CollectorRegistry,
    *,
    on_ended: Observer = lambda _: None,
) -> CommandHandler:
    """Opens it until the stack is closed. ``on_ended`` is told of what ends access, before its commit is answered."""
    open_appender = _appenders(
        stack,
        settings,
        database,
        log,
        on_ended=on_ended,
        largest_batch=settings.append_batch,
        metrics=append_metrics(registry),
    )
    handler = _opened(stack, database, log, open_appender(), streams=STREAMS)
    RaceMetrics(registry, handler.races)
    return handler


def open_bulk_write_side(
    stack: AsyncExitStack,
    settings: Settings,
    database: Database,
    log: EventLog,
    registry: CollectorRegistry | None = None,
) -> CommandHandler:
    """One for thousands of commands that nobody waits for, beside the one for those that somebody does.

    Small batches, two at once and with much patience; few rings, and few streams: the streams that it begins are not
    written to again.
    """
    most = min(IN_BULK, settings.append_batch)
    open_appender = _appenders(
        stack,
        settings,
        database,
        log,
        rest=BULK_REST,
        largest_batch=most,
        patience=BULK_PATIENCE,
        metrics=append_metrics(registry or CollectorRegistry()),
    )
    return _opened(stack, database, log, open_appender(), streams=BULK_STREAMS, spare=open_appender())


def limits_of(settings: Settings) -> Limits:
    """How much of each scarce thing an account may have at once."""
    return {
        UNPAID: Limit(settings.unpaid_orders_most or None, settings.unpaid_pieces_most or None),
        MEMBERSHIP: Limit(settings.rooms_most or None),
        INVITATION: Limit(settings.rooms_most or None),
        WEBHOOK: Limit(MOST_WEBHOOKS, None),
    }


def _opened(
    stack: AsyncExitStack, database: Database, log: EventLog, appender: Appender, **kept: Any
) -> CommandHandler:
    handler = CommandHandler(database, appender, log=log, **kept)
    stack.push_async_callback(handler.close)
    return handler


def _appenders(
    stack: AsyncExitStack,
    settings: Settings,
    database: Database,
    log: EventLog,
    *,
    rest: float = 0.0,
    on_ended: Observer = lambda _: None,
    **batches: Any,
) -> Callable[[], Appender]:
    """What opens appenders that share a doorbell, and the news of access that has ended."""
    keys = Keyspace.of(log.log_id)
    doorbell = Doorbell(settings.redis_url, keys.doorbell, rest=rest)
    news = Doorbell(settings.redis_url, keys.access, message=b"{}")
    access = AccessNews(news, on_ended)
    stack.push_async_callback(doorbell.close)
    stack.push_async_callback(news.close)

    def on_stored(requests: Sequence[AppendRequest]) -> None:
        access.stored(requests)
        doorbell.ring()

    def opened() -> Appender:
        appender = Appender(
            database, timeout=settings.append_timeout, on_stored=on_stored, limits=limits_of(settings), **batches
        )
        stack.push_async_callback(appender.close)
        return appender

    return opened

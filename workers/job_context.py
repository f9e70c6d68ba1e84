"""The context of background work, opened once: for mail, timers, refunds, imports and pictures."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from prometheus_client import CollectorRegistry

from infra.concurrency.circuit_breaker import Breaker
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.process_managers.timer_runner import TimerMetrics, TimerRunner
from infra.identity.key_wrapping import KeyWrapping
from infra.identity.server_secret import ServerSecret
from infra.mail.mailer import Mailer
from infra.payments.http_provider import HttpPaymentProvider
from infra.postgres.pool import Database
from infra.settings import Settings
from infra.storage import open_storage
from infra.storage.product_images import ImageFiles
from infra.webhooks.http_client import WebhookClient
from infra.write_side import open_bulk_write_side, open_write_side
from workers.departures import Departures
from workers.due_loop import DueLoop
from workers.imports.batch_run import ImportMetrics
from workers.imports.importer import Importer
from workers.mail.message import domain_of
from workers.mail.sender import MailMetrics, MailSender
from workers.order_deadlines import PROCESSES, effects_of, issuer
from workers.refunds import RefundMetrics, Refunds
from workers.resets import Resets
from workers.webhooks.sender import AT_ONCE, PER_SUBSCRIBER, WebhookMetrics, WebhookSender

DUE_WORK: Final = ("post", "refunds", "timekeeper", "importer", "resets", "departures", "webhooks")
"""The kinds of due work, by the hand that does it."""


async def open_job_context(
    stack: AsyncExitStack, settings: Settings, database: Database, log: EventLog, registry: CollectorRegistry
) -> dict[str, Any]:
    """The context of jobs and of due work, until the stack is closed."""
    secret = ServerSecret(database, KeyWrapping(settings.encryption_keys))
    await secret.load()
    storage = open_storage(settings)
    commands = open_write_side(stack, settings, database, log, registry)
    return {
        "database": database,
        "mail_kept_days": settings.mail_kept_days,
        "log": log,
        "images": ImageFiles(database, storage),
        "post": _post(stack, settings, database, secret, registry),
        "refunds": _refunds(stack, settings, database, commands, registry),
        "timekeeper": TimerRunner(
            database,
            log,
            PROCESSES,
            effects=effects_of(log, domain_of(settings.mail_from)),
            issue=issuer(commands),
            metrics=TimerMetrics(registry),
        ),
        "importer": Importer(
            database,
            storage,
            open_bulk_write_side(stack, settings, database, log, registry),
            ImportMetrics(registry),
        ),
        "resets": Resets(database, commands),
        "departures": Departures(database, commands),
        "webhooks": _webhooks(stack, settings, database, commands, secret, registry),
    }


def due_loops(context: Mapping[str, Any]) -> dict[str, DueLoop[Any]]:
    """The claim loops, one for each kind of due work, by the name of the hand that does it."""
    return {name: DueLoop(name, context[name], context["database"]) for name in DUE_WORK}


def _post(
    stack: AsyncExitStack, settings: Settings, database: Database, secret: ServerSecret, registry: CollectorRegistry
) -> MailSender:
    """The sender, whose connections to the mail server the stack closes."""
    mailer = Mailer(settings.smtp_url, helo=domain_of(settings.mail_from))
    stack.push_async_callback(mailer.close)
    post = MailSender(database, mailer, settings, secret, MailMetrics(registry))
    stack.push_async_callback(post.close)
    return post


def _refunds(
    stack: AsyncExitStack,
    settings: Settings,
    database: Database,
    commands: CommandHandler,
    registry: CollectorRegistry,
) -> Refunds:
    """The keeper of refunds, whose connections to the payment provider the stack closes."""
    provider = None
    if settings.payment_provider_url is not None:
        provider = HttpPaymentProvider(settings.payment_provider_url, settings.payment_provider_key)
        stack.push_async_callback(provider.close)
    return Refunds(database, commands, provider, breaker=Breaker(), metrics=RefundMetrics(registry))


def _webhooks(
    stack: AsyncExitStack,
    settings: Settings,
    database: Database,
    commands: CommandHandler,
    secret: ServerSecret,
    registry: CollectorRegistry,
) -> WebhookSender:
    """The sender to subscribers, whose connections the stack closes."""
    anywhere = settings.webhook_destinations == "any"
    client = WebhookClient(anywhere=anywhere, connections=AT_ONCE * PER_SUBSCRIBER)
    stack.push_async_callback(client.close)
    return WebhookSender(database, commands, secret, client, WebhookMetrics(registry))

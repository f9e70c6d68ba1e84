"""What jobs work with: the sender of mails, the keeper of timers, the storage; opened once per process."""

from contextlib import AsyncExitStack
from typing import Any

from prometheus_client import CollectorRegistry

from infra.database import Database
from infra.image_files import ImageFiles
from infra.log import Log
from infra.mailer import Mailer
from infra.settings import Settings
from infra.storage import open_storage
from infra.write_side import open_write_side
from workers.letters import domain_of
from workers.mail import MailMetrics, Post
from workers.timers import Timekeeper, TimerMetrics


def open_hands(
    stack: AsyncExitStack, settings: Settings, database: Database, log: Log, registry: CollectorRegistry
) -> dict[str, Any]:
    """The context of jobs, until the stack is closed."""
    return {
        "database": database,
        "images": ImageFiles(database, open_storage(settings)),
        "post": _post(stack, settings, database, registry),
        "timekeeper": Timekeeper(
            database,
            log,
            open_write_side(stack, settings, database, log),
            domain=domain_of(settings.mail_from),
            metrics=TimerMetrics(registry),
        ),
    }


def _post(stack: AsyncExitStack, settings: Settings, database: Database, registry: CollectorRegistry) -> Post:
    """The sender, whose connections to the mail server the stack closes."""
    mailer = Mailer(settings.smtp_url, helo=domain_of(settings.mail_from))
    stack.push_async_callback(mailer.close)
    post = Post(database, mailer, settings, MailMetrics(registry))
    stack.push_async_callback(post.close)
    return post

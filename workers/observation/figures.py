"""What is observed: work that is due, what is owed to the outside, streams set aside, and the server itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from infra.eventsourcing.event_log import log_head
from infra.eventsourcing.process_managers import timer_store
from infra.eventsourcing.projections.rebuild import requests
from infra.eventsourcing.projections.standing import aside
from infra.identity import reset_wishes, room_departures
from infra.imports import import_table
from infra.mail import outbox as mail
from infra.payments import refund_outbox
from infra.postgres import server_figures
from infra.postgres.due_work import DueWork, Overdue
from infra.postgres.pool import Database
from infra.postgres.statements import CLOCK, Statement
from infra.postgres.tables.identity import signing_keys
from infra.webhooks import outbox as webhooks
from infra.webhooks import standings
from projections.registry import PROJECTIONS
from workers.mail.consumer import NAME
from workers.order_deadlines import PROCESSES
from workers.webhooks import consumer

WORK: Final[Mapping[str, DueWork]] = {
    "mail": mail.WORK,
    "refund": refund_outbox.WORK,
    "webhook": webhooks.WORK,
    "timer": timer_store.WORK,
    "import": import_table.WORK,
    "reset": reset_wishes.WORK,
    "departure": room_departures.WORK,
    "rebuild": requests.WORK,
}
"""All tables of due work, by what is told of them. For webhooks a piece is a subscriber who is owed something."""
CONSUMERS: Final = (*PROJECTIONS, NAME, consumer.NAME, *PROCESSES)
LOOK_SECONDS: Final = 2.0
"""What one statement may take. Nobody waits for these figures, and they hold up nobody."""

_KEY: Final = Statement(
    sa.select(sa.cast(sa.extract("epoch", CLOCK - sa.func.max(signing_keys.c.activates_at)), sa.Double)).where(
        signing_keys.c.retired_at.is_(None)
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How the work stands: by kind of due work, by outbox (seconds of the oldest, and how many were given up), by
    consumer (streams that are parked, and streams that wait for a newer release)."""

    position: int
    due: Mapping[str, Overdue]
    oldest: Mapping[str, float]
    given_up: Mapping[str, int]
    webhooks_paused: int
    parked: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    key_age: float | None = None


async def standing(database: Database) -> Standing:
    """As it is now. Raises one of ``PASSING``."""
    async with database.snapshot(seconds=LOOK_SECONDS) as session:
        position = await log_head(session)
        due = {name: await work.overdue(session) for name, work in WORK.items()}
        mails, refunds = await mail.standing(session), await refund_outbox.standing(session)
        subscribers = await standings.total(session)
        parked, held = await aside(session)
        key_age = await session.fetchval(*_KEY())
    return Standing(
        position=position,
        due=due,
        oldest={"mail": mails.oldest, "refund": refunds.oldest, "webhook": subscribers.oldest},
        given_up={"mail": mails.failed, "refund": refunds.refused},
        webhooks_paused=subscribers.alone,
        parked={**dict.fromkeys(CONSUMERS, 0), **parked},
        held={**dict.fromkeys(CONSUMERS, 0), **held},
        key_age=key_age,
    )


async def server(database: Database) -> server_figures.ServerFigures:
    """How Postgres does. Raises one of ``PASSING``."""
    async with database.snapshot(seconds=LOOK_SECONDS) as session:
        return await server_figures.read(session)

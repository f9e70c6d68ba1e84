"""Work that is not done: read models that are behind, streams that are parked, what is owed."""

from collections.abc import Sequence

from cli.doctor.finding import Finding, problem
from cli.doctor.patient import Patient
from cli.status.reading import CONSUMERS
from infra.eventsourcing.leases import lag_of
from infra.eventsourcing.projections import standing
from infra.mail import outbox
from infra.payments import refund_outbox
from infra.webhooks import standings


async def lag(patient: Patient) -> Sequence[Finding]:
    """Consumers that are further behind than one that is only busy."""
    async with patient.database() as database:
        late = [each for each in sorted(await lag_of(database, CONSUMERS)) if each.seconds > standing.LATE_SECONDS]
    return [
        problem(
            f"{each.consumer} is {each.events} events behind, {each.seconds:.0f} s",
            "readers are shown what was, and what follows from events does not follow",
            "`weir status`; start workers, or more of them: docs/scaling-workers.md",
        )
        for each in late
    ]


async def parked(patient: Patient) -> Sequence[Finding]:
    """Streams that were set aside."""
    async with patient.database() as database:
        report = await standing.report(database, ())
    return [
        problem(
            f"{count} streams are parked in {consumer}",
            "their rows stay as they were, and all that happens to them waits",
            "`weir parked list`, mend the cause, then `weir parked retry`",
        )
        for consumer, count in report["parked_streams"].items()
    ]


async def owed(patient: Patient) -> Sequence[Finding]:
    """Mails, refunds and webhooks."""
    async with patient.database() as database:
        mails, refunds = await outbox.standing(database), await refund_outbox.standing(database)
        webhooks = await standings.total(database)
    found = []
    for what, oldest, fix in (
        ("mail", mails.oldest, "`weir mail list`"),
        ("refund", refunds.oldest, "`weir refunds list`"),
        ("webhook", webhooks.oldest, "`weir webhooks list`"),
    ):
        if oldest > patient.limits.owed_seconds:
            told, means = f"a {what} is owed for {oldest:.0f} s", "somebody waits for it"
            found.append(problem(told, means, f"{fix} says why; is a tasks worker running?"))
    for count, what, fix in (
        (mails.failed, "mails were given up", "`weir mail list`, then `weir mail retry --failed`"),
        (refunds.refused, "refunds were refused by the provider", "`weir refunds list`, then `weir refunds retry`"),
        (webhooks.alone, "subscribers are left alone for a while", "`weir webhooks list`"),
    ):
        if count:
            found.append(problem(f"{count} {what}", "nobody tries again by itself", fix))
    return found

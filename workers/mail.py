"""The sender: claims a mail in the ledger, offers it to the server, and writes down what came of it.

Jobs only say which row to look at. A job that is lost is made again by the sweep; one that comes twice finds the row
claimed or done.
"""

import asyncio
import random
from collections.abc import Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

import structlog
from asyncpg import PostgresError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from infra.batches import Batches
from infra.database import Database
from infra.errors import AWAY
from infra.jobs import Jobs, all_ended, job_id
from infra.links import Links
from infra.mail_ledger import Claimed, Outcome, Settled, claim, due, settle
from infra.mailer import Accepted, Deferred, Mailer, Refused, Result, Unknown
from infra.server_secret import ServerSecret
from infra.settings import Settings
from infra.telemetry import REQUEST_ID
from workers.letters import compose
from workers.links import Linker

AT_ONCE: Final = 16
"""Mails in conversation at once, and so connections to the server; many servers allow one client fifty."""
CONVERSATION_SECONDS: Final = 15.0
LEASE_SECONDS: Final = 30.0
"""How long a claim holds. Longer than a conversation, or two workers could be sending one mail."""
SETTLE_SECONDS: Final = 90.0
"""How long the outcome of a conversation is carried to a Postgres that is away: forgetting it would double the mail."""
TURN_SECONDS: Final = 30.0
"""How long a mail waits until one of the conversations is its; it is not claimed yet."""
MOST_OUTCOMES: Final = 500
MAILS_PER_JOB: Final = 50
"""A job costs some ten trips to Redis, whatever it carries."""
SWEEP_LIMIT: Final = 500
ENOUGH_JOBS: Final = 64
"""With so many in the queue there is nothing to sweep for."""
LONGEST_WAIT: Final = 3600.0

_log = structlog.get_logger("weir.mail")


class MailMetrics:
    """What the sender did, by kind and outcome; how long servers took; what lies due."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.settled = Counter("weir_mails", "Attempts by outcome.", ("kind", "state"), registry=registry)
        self.seconds = Histogram("weir_mail_send_seconds", "Conversations with the mail server.", registry=registry)
        self.due = Gauge("weir_mails_due", "Mails due at the last sweep, at most its limit.", registry=registry)


class Post:
    """Sends mails of the ledger. One per process.

    Each mail goes its own way, but they travel together: mails that begin at the same time share a claim, and outcomes
    that come while others are being written down share the next statement.
    """

    def __init__(
        self,
        database: Database,
        mailer: Mailer,
        settings: Settings,
        metrics: MailMetrics,
        *,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        self._database = database
        self._mailer = mailer
        self._sender = settings.mail_from
        self._language = settings.mail_language
        self._linker = Linker(Links(database, ServerSecret(database)), settings.public_url)
        self._most_attempts = settings.mail_max_attempts
        self._metrics = metrics
        self._turn_seconds = turn_seconds
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._in_hand: set[UUID] = set()
        self._claims: Batches[UUID, Claimed | None] = Batches(
            partial(claim, database, lease_seconds=LEASE_SECONDS), size=AT_ONCE, flights=1, waiting=AT_ONCE
        )
        self._outcomes: Batches[Outcome, bool] = Batches(
            partial(settle, database), size=MOST_OUTCOMES, flights=1, waiting=MOST_OUTCOMES
        )

    async def deliver(self, mail_id: UUID) -> Settled | None:
        """One attempt at a mail, if it is due and nobody else's; answers how it ended.

        Raises :class:`~infra.errors.Unavailable` when Postgres is away. A mail that was offered before that stays
        claimed until its lease ends.
        """
        if mail_id in self._in_hand:
            return None
        self._in_hand.add(mail_id)
        try:
            attempt = await self._in_turn(mail_id)
            return None if attempt is None else await self._settle(*attempt)
        finally:
            self._in_hand.remove(mail_id)

    async def close(self) -> None:
        """Ends what is still being claimed or written down."""
        await self._claims.close()
        await self._outcomes.close()

    async def sweep(self, jobs: Jobs) -> int:
        """Wakes the sender for what is due, however it was forgotten; answers how many rows it found.

        While the queue is long, those rows are in it already.
        """
        if await jobs.zcard(jobs.default_queue_name) >= ENOUGH_JOBS:
            return 0
        mails = await due(self._database, SWEEP_LIMIT)
        self._metrics.due.set(len(mails))
        await wake(jobs, mails)
        return len(mails)

    async def _in_turn(self, mail_id: UUID) -> tuple[Claimed, Result] | None:
        """Claims the mail no sooner than it can be sent: one that waited for its turn could outlive its lease."""
        try:
            async with asyncio.timeout(self._turn_seconds):
                await self._at_once.acquire()
        except TimeoutError:
            return None  # the server is slow; the sweep brings it back
        try:
            until = asyncio.get_running_loop().time() + CONVERSATION_SECONDS
            mail = await self._claims.ask(mail_id)
            if mail is None:
                return None
            REQUEST_ID.set(mail.correlation or "")
            return mail, await self._attempt(mail, until)
        finally:
            self._at_once.release()

    async def _attempt(self, mail: Claimed, until: float) -> Result:
        if mail.attempts > self._most_attempts:
            return Deferred(reason="its sender died every time")
        try:
            envelope = compose(await self._linker.complete(mail), self._sender, self._language)
        except Exception as error:  # a broken template or row must neither stop the others nor be lost
            _log.exception("mail cannot be composed", mail_id=str(mail.mail_id), kind=mail.kind)
            return Deferred(reason=f"compose: {type(error).__name__}")
        with self._metrics.seconds.time():
            return await self._mailer.send(envelope, deadline=until)

    async def _settle(self, mail: Claimed, result: Result) -> Settled:
        state, reason = self._state_after(mail, result)
        outcome = Outcome(
            mail_id=mail.mail_id,
            attempts=mail.attempts,
            state=state,
            error=reason,
            wait_seconds=backoff(mail.attempts) if state in ("due", "unknown") else 0.0,
        )
        async with asyncio.timeout(SETTLE_SECONDS):
            while True:
                try:
                    mine = await self._outcomes.ask(outcome)
                    break
                except (*AWAY, PostgresError):
                    await asyncio.sleep(random.uniform(0.05, 0.3))  # noqa: S311
        self._metrics.settled.labels(mail.kind, state).inc()
        level = _log.info if state == "sent" else _log.warning
        level(
            "mail",
            mail_id=str(mail.mail_id),
            kind=mail.kind,
            state=state,
            attempt=mail.attempts,
            reason=reason,
            **({} if mine else {"late": True}),
        )
        return state

    def _state_after(self, mail: Claimed, result: Result) -> tuple[Settled, str | None]:
        exhausted = mail.attempts >= self._most_attempts
        match result:
            case Accepted():
                return "sent", None
            case Refused(reason=reason):
                return "refused", reason
            case Deferred(reason=reason):
                return "failed" if exhausted else "due", reason
            case Unknown(reason=reason):
                return "failed" if exhausted else "unknown", reason


def backoff(attempts: int) -> float:
    """Seconds until the next attempt: 2, 6, 18, … up to an hour, less a random part that spreads them."""
    return min(2 * 3.0 ** min(attempts - 1, 10), LONGEST_WAIT) * random.uniform(0.5, 1)  # noqa: S311


async def wake(jobs: Jobs, mails: Sequence[tuple[UUID, int]]) -> None:
    """Enqueues jobs for the mails, each with the number of attempts behind it."""
    for start in range(0, len(mails), MAILS_PER_JOB):
        part = mails[start : start + MAILS_PER_JOB]
        work = [(str(mail_id), attempts) for mail_id, attempts in part]
        await jobs.enqueue_job("send_mails", [mail_id for mail_id, _ in work], _job_id=job_id("mails", work))


async def send_mails(ctx: dict[str, Any], mail_ids: Sequence[str]) -> None:
    """The job: one attempt at each of the mails."""
    post: Post = ctx["post"]
    await all_ended(post.deliver(UUID(mail_id)) for mail_id in mail_ids)


async def sweep_mail(ctx: dict[str, Any]) -> None:
    """The job that finds what no job was made for, or whose job was lost."""
    post: Post = ctx["post"]
    await post.sweep(ctx["redis"])

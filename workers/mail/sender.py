"""The sender: offers claimed mails to the server, and writes down what came of it.

A mail is tried for days, by growing waits, and refused only by the server's own word. One that carries a link is not
sent when the link is dead.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from infra.concurrency.batcher import Batches
from infra.identity.one_time_links import Links, lives_of
from infra.identity.server_secret import ServerSecret
from infra.mail import outbox
from infra.mail.mailer import Accepted, Deferred, Mailer, Refused, Result, Unknown
from infra.mail.outbox import Claimed, MailOutcome, Settled, settle
from infra.observability import tracing
from infra.postgres.due_work import persisted
from infra.postgres.pool import Database
from infra.settings import Settings
from workers.mail.links import LINKED, Linker
from workers.mail.message import build_message

AT_ONCE: Final = 16
"""Mails in conversation at once, and so connections to the server; many servers allow one client fifty."""
CONVERSATION_SECONDS: Final = 15.0
SHORTEST_CONVERSATION: Final = 3.0
SETTLING_SECONDS: Final = 2.0
"""What of a drain is kept for writing down how the last conversations ended."""
SETTLE_SECONDS: Final = 90.0
"""How long the outcome of a conversation is carried to a Postgres that is away: forgetting it would double the mail."""
MOST_OUTCOMES: Final = 500
DAY: Final = 86_400

_log = structlog.get_logger("weir.mail")


class MailMetrics:
    """What the sender did, by kind and outcome; how long servers took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.settled = Counter("weir_mail_attempts", "Attempts by outcome.", ("kind", "outcome"), registry=registry)
        self.seconds = Histogram("weir_mail_send_duration_seconds", "Conversations with servers.", registry=registry)


class MailSender:
    """Sends mails of the ledger. One per process.

    Each mail goes its own way, but outcomes that come while others are being written down share the next statement.
    """

    work = outbox.WORK
    at_once = AT_ONCE

    def __init__(
        self, database: Database, mailer: Mailer, settings: Settings, secret: ServerSecret, metrics: MailMetrics
    ) -> None:
        self._database = database
        self._mailer = mailer
        self._sender = settings.mail_from
        self._language = settings.mail_language
        self._lives = lives_of(settings)
        self._linker = Linker(Links(database, secret), settings.pages_url, self._lives, self._language)
        self._most_deaths = settings.mail_max_attempts
        self._tried_seconds = settings.mail_days * DAY
        self._conversation_seconds = conversation_seconds(settings.drain_seconds)
        self._metrics = metrics
        self._outcomes: Batches[MailOutcome, bool] = Batches(
            partial(settle, database), size=MOST_OUTCOMES, flights=1, waiting=MOST_OUTCOMES
        )

    async def claim(self, limit: int) -> Sequence[Claimed]:
        """Mails that are due, at most so many."""
        return await outbox.claim(self._database, limit)

    async def run(self, mail: Claimed, since: float) -> Settled:
        """One attempt at a claimed mail; answers how it ended.

        Raises ``TimeoutError`` where Postgres stays away: the mail stays claimed until its lease ends.
        """
        return await self._settle(mail, await self._attempt(mail, since + self._conversation_seconds))

    async def close(self) -> None:
        """Ends what is still being written down."""
        await self._outcomes.close()

    async def _attempt(self, mail: Claimed, until: float) -> Result:
        if why := self._not_offered(mail):
            return Deferred(reason=why)
        try:
            envelope = build_message(await self._linker.complete(mail), self._sender, self._language)
        except Exception as error:  # a broken template or row must neither stop the others nor be lost
            _log.exception("mail cannot be composed", mail_id=str(mail.mail_id), kind=mail.kind)
            return Deferred(reason=f"compose: {type(error).__name__}")
        smtp = tracing.span("smtp", kind=tracing.SpanKind.CLIENT, about={"weir.mail.kind": mail.kind})
        with self._metrics.seconds.time(), smtp as span:
            result = await self._mailer.send(envelope, deadline=until)
            span.note({"weir.outcome": type(result).__name__.lower()})
            return result

    async def _settle(self, mail: Claimed, result: Result) -> Settled:
        state, reason = self._state_after(mail, result)
        outcome = MailOutcome(
            mail_id=mail.mail_id,
            attempts=mail.attempts,
            state=state,
            error=reason,
            wait_seconds=self.work.backoff.after(mail.attempts) if state in ("due", "unknown") else 0.0,
        )
        mine = await persisted(lambda: self._outcomes.ask(outcome), SETTLE_SECONDS)
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
        match result:
            case Accepted():
                return "sent", None
            case Refused(reason=reason):
                return "refused", reason
            case Deferred(reason=reason):
                return "failed" if self._is_over(mail) else "due", reason
            case Unknown(reason=reason):
                return "failed" if self._is_over(mail) else "unknown", reason

    def _is_over(self, mail: Claimed) -> bool:
        """Whether a mail that was not taken is given up."""
        return mail.tried_seconds >= self._tried_seconds or self._not_offered(mail) is not None

    def _not_offered(self, mail: Claimed) -> str | None:
        """Why a mail is not even offered, if it is not: it has killed its senders, or nobody could use it any more."""
        if mail.unsettled > self._most_deaths:
            return "its sender died every time"
        purpose = LINKED.get(mail.kind)
        return "its link is dead" if purpose and mail.age_seconds >= self._lives[purpose].total_seconds() else None


def conversation_seconds(drain_seconds: float) -> float:
    """How long a conversation may take: it must end within the drain, or a mail whose message is on its way when the
    process is to stop would be cut off before the answer, and sent again.
    """
    return max(SHORTEST_CONVERSATION, min(CONVERSATION_SECONDS, drain_seconds - SETTLING_SECONDS))

"""The sender: sees to claimed subscribers, a turn at a time, and writes down what came of each attempt.

::

    claim a subscriber ─▶ the first due row of each stream, a few at once ─▶ sign, POST ─▶ settle ─▶ again, or end
                                                                                   └ 410: the log is told first

A worker that dies between an answer and its note leaves the row due: it is sent again, under the same id. After
failures in a row the circuit of the subscriber is open: it is left alone for a while, then tried with one row. One that
says when to come back (429, 503 with ``Retry-After``) is left alone until then.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from domain.kernel.refusals import DoesNotExist
from domain.webhooks import WEBHOOKS, DeactivatedBy, DeactivateWebhook
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.identity.server_secret import ServerSecret
from infra.observability import tracing
from infra.observability.origin import begin
from infra.postgres.clock import PostgresClock
from infra.postgres.due_work import persisted
from infra.postgres.pool import Database
from infra.webhooks import outbox
from infra.webhooks.http_client import Answer, WebhookClient
from infra.webhooks.message import headers_of
from infra.webhooks.outbox import Claimed, Delivery, Outcome
from infra.webhooks.secrets import signing_secret

ACTOR: Final = "webhook-subscriber"
"""Who deactivated a webhook by an answer of 410, in the metadata of the event."""
AT_ONCE: Final = 16
"""Subscribers that a process sees to at once."""
PER_SUBSCRIBER: Final = 4
"""Deliveries on their way to one of them."""
OPENS_AFTER: Final = 5
"""Failures in a row."""
TURN_SECONDS: Final = 5.0
"""After this a turn begins no more attempts: the last ends within the lease, and within a drain."""
SETTLE_SECONDS: Final = 20.0
GONE_SECONDS: Final = 60.0
"""Until a subscriber that is gone is looked at again: by then the consumer of the log has heard of it."""

_log = structlog.get_logger("weir.webhooks")


class WebhookMetrics:
    """Attempts by outcome, how long subscribers take."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.attempts = Counter("weir_webhook_attempts", "Attempts by outcome.", ("outcome",), registry=registry)
        self.seconds = Histogram("weir_webhook_call_duration_seconds", "Calls of subscribers.", registry=registry)


class WebhookSender:
    """Sends to subscribers. One per process."""

    work = outbox.WORK
    at_once = AT_ONCE

    def __init__(
        self,
        database: Database,
        commands: CommandHandler,
        secret: ServerSecret,
        client: WebhookClient,
        metrics: WebhookMetrics,
    ) -> None:
        self._database = database
        self._clock = PostgresClock(database)
        self._commands = commands
        self._secret = secret
        self._client = client
        self._metrics = metrics

    async def claim(self, limit: int) -> Sequence[Claimed]:
        """Subscribers who are owed something, at most so many."""
        return await outbox.claim(self._database, limit)

    async def run(self, subscriber: Claimed, since: float) -> None:
        """A turn. Raises ``TimeoutError`` where Postgres stays away: then its lease has to run out."""
        failures, until = subscriber.failures, since + TURN_SECONDS
        while asyncio.get_running_loop().time() < until:
            trying = 1 if failures >= OPENS_AFTER else PER_SUBSCRIBER
            due = await outbox.due(self._database, subscriber, trying)
            if not due:
                return await outbox.rest(self._database, subscriber, failures)
            answers = await self._attempts(subscriber, due)
            failures = _failures(failures, answers)
            if any(answer.gone for answer in answers):
                return await outbox.pause(self._database, subscriber, 0, GONE_SECONDS, "410 Gone")
            if wait := self._pause(failures, answers):
                return await outbox.pause(self._database, subscriber, failures, wait, _told(answers))
        return await outbox.go_on(self._database, subscriber, failures)

    async def _attempts(self, subscriber: Claimed, due: Sequence[Delivery]) -> Sequence[Answer]:
        """All at once. Where one cannot be seen to, the others are none the less seen to their end: by then the
        subscriber may be another worker's, who would send what is still on its way from here."""
        attempts = await asyncio.gather(*(self._attempt(subscriber, each) for each in due), return_exceptions=True)
        answers = [each for each in attempts if isinstance(each, Answer)]
        for each in attempts:
            if isinstance(each, BaseException):
                raise each
        return answers

    async def _attempt(self, subscriber: Claimed, delivery: Delivery) -> Answer:
        """One POST, and what came of it in the row before anything else is sent of its stream."""
        begin(delivery.cause)
        at = await self._clock.now()
        signing = [each.secret_id for each in subscriber.signers if each.until is None or each.until > at]
        secrets = [await signing_secret(self._secret, secret_id) for secret_id in signing]
        headers = headers_of(delivery.delivery_id, at, delivery.body, secrets)
        if delivery.correlation is not None:
            headers["X-Request-ID"] = delivery.correlation
        kind, about = tracing.SpanKind.CLIENT, {"weir.event.type": delivery.type}
        post = tracing.span("webhook", kind=kind, parent=delivery.cause.traceparent, about=about)
        with self._metrics.seconds.time(), post as span:
            answer = await self._client.post(subscriber.url, headers, delivery.body.encode())
            span.note({"http.response.status_code": answer.status, "weir.outcome": answer.error})
        settle = partial(self._settle, subscriber, delivery, answer, at)
        state, mine = await persisted(settle, SETTLE_SECONDS)
        self._metrics.attempts.labels(state).inc()
        (_log.info if answer.taken else _log.warning)(
            "webhook",
            webhook_id=str(subscriber.webhook_id),
            delivery_id=str(delivery.delivery_id),
            state=state,
            attempt=delivery.attempts + 1,
            status=answer.status,
            error=answer.error,
            **({} if mine else {"late": True}),
        )
        return answer

    async def _settle(
        self, subscriber: Claimed, delivery: Delivery, answer: Answer, at: datetime
    ) -> tuple[outbox.State, bool]:
        """Writes down what came of an attempt; answers what that is, and whether it still said anything.

        The log before the row: whether a subscriber that is gone is the one that counts is known there alone.
        """
        ended = answer.gone and await self._end(subscriber)
        state = _state(delivery, answer, ended)
        outcome = Outcome(state=state, answer=_kept(answer, at), wait=answer.wait)
        return state, await outbox.settle(self._database, delivery, outcome)

    def _pause(self, failures: int, answers: Sequence[Answer]) -> float:
        """Seconds for which the subscriber is left alone: as it asks, and longer where nothing has helped."""
        asked = max(answer.wait or 0.0 for answer in answers)
        if failures < OPENS_AFTER:
            return asked
        return self.work.backoff.after(failures - OPENS_AFTER + 1, asked)

    async def _end(self, subscriber: Claimed) -> bool:
        """The log is told that the subscriber is gone; False where its webhook leads elsewhere by now, and goes on.

        What is still owed is dropped by whoever reads of it there.
        """
        webhook_id = subscriber.webhook_id
        context = CommandContext(principal=ACTOR, actor=ACTOR, causation=f"webhook:{webhook_id}")
        command = DeactivateWebhook(by=DeactivatedBy.SUBSCRIBER, url=subscriber.url)
        try:
            await self._commands.handle((WEBHOOKS, webhook_id), command, context)
        except DoesNotExist:
            _log.info("webhook was deleted meanwhile", webhook_id=str(webhook_id))
            return True
        webhook, _ = await self._commands.now(WEBHOOKS, webhook_id)
        return webhook is None or not webhook.active


def _failures(before: int, answers: Sequence[Answer]) -> int:
    """Failures in a row: whoever has taken anything works."""
    return 0 if any(answer.taken for answer in answers) else before + len(answers)


def _state(delivery: Delivery, answer: Answer, ended: bool) -> outbox.State:
    if answer.taken:
        return "delivered"
    if ended:
        return "dropped"
    return "failed" if delivery.over else "due"


def _kept(answer: Answer, at: datetime) -> dict[str, Any]:
    return {"at": at, "status": answer.status, "ms": answer.ms, "answer": answer.text, "error": answer.error}


def _told(answers: Sequence[Answer]) -> str:
    last = [answer for answer in answers if not answer.taken][-1]
    return last.error or f"HTTP {last.status}"

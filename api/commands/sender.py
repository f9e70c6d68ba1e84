"""From an HTTP request to the command handler and back to a receipt: who asks, under which key and condition."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request
from starlette.types import Scope

from api.answers import Receipt
from api.context import EXCHANGE, Exchange, RequestContext, context_of
from api.deps import opened
from infra.attempts import CommandContext, Decide, Outcome
from infra.command_handler import CommandHandler
from infra.consistency import encode
from infra.work import Target

ANONYMOUS = "anonymous"


class Sender:
    """Sends the commands of one request, in the name of whom it turns out to come from.

    ``actor`` stands for a client that is not an account.
    """

    __slots__ = ("_actor", "_handler", "_scope")

    def __init__(self, handler: CommandHandler, scope: Scope, actor: str | None = None) -> None:
        self._handler = handler
        self._scope = scope
        self._actor = actor

    @property
    def handler(self) -> CommandHandler:
        """For what needs no receipt, such as looking at a state."""
        return self._handler

    def speaking_for(self, account_id: UUID) -> "Sender":
        """The same request, now that something in it has proven whose it is: a link, a refresh token."""
        return Sender(self._handler, self._scope, str(account_id))

    async def handle(self, target: Target, command: Any) -> Receipt:
        """One command on one stream."""
        outcome = await self._handler.handle(target, command, self._context())
        self._note_commit()
        return receipt(outcome)

    async def handle_unconditionally(self, target: Target, command: Any, account_id: UUID) -> None:
        """One command, in the account's name, that must not fail for what the client says."""
        await self._handler.handle(target, command, unconditional(context_of(self._scope), account_id))
        self._note_commit()

    async def carry_out(
        self,
        targets: Sequence[Target],
        decide: Decide,
        *,
        new: int = 0,
        location: Callable[[Outcome], str] | None = None,
    ) -> Receipt:
        """A unit of work over several streams, the first ``new`` of which it begins."""
        outcome = await self._handler.carry_out(targets, decide, self._context(), new=new)
        self._note_commit()
        return receipt(outcome, location(outcome) if location else None)

    def _note_commit(self) -> None:
        exchange: Exchange = self._scope[EXCHANGE]
        exchange.committed = True

    def _context(self) -> CommandContext:
        # Read when the command goes out and not before: who asks is found out by another dependency of the endpoint.
        return command_context(context_of(self._scope), self._actor)


def command_context(context: RequestContext, actor: str | None = None) -> CommandContext:
    """The conditions of a request as the command handler takes them."""
    principal = str(context.principal.id) if context.principal else None
    return CommandContext(
        principal=principal or actor or ANONYMOUS,
        actor=principal or actor,
        correlation=context.request_id,
        traceparent=context.traceparent,
        idempotency_key=context.idempotency_key,
        fingerprint=context.fingerprint or b"",
        if_match=context.if_match,
    )


def unconditional(context: RequestContext, account_id: UUID) -> CommandContext:
    """The conditions of a command that must not fail for what the client says: there are none."""
    return CommandContext(
        principal=str(account_id),
        actor=str(account_id),
        correlation=context.request_id,
        traceparent=context.traceparent,
    )


def receipt(outcome: Outcome, location: str | None = None) -> Receipt:
    """The receipt of what was carried out."""
    return Receipt(
        id=outcome.id,
        version=outcome.version,
        position=outcome.position,
        token=encode(outcome.positions),
        location=location,
        replayed=outcome.replayed,
        extra=outcome.answer,
    )


def sender(request: Request) -> Sender:
    """A dependency."""
    return Sender(opened(CommandHandler)(request), request.scope)


Commands = Annotated[Sender, Depends(sender)]

"""From an HTTP request to the command handler and back to a receipt: who asks, under which key and condition."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, NamedTuple, Protocol
from uuid import UUID

from fastapi import Depends, Request
from starlette.types import Scope

from api.commands.dependencies import WriteSideDep, get_write_side
from api.errors import Problem
from api.http.policies.trusted_proxies import source_of
from api.http.request_context import RequestContext, context_of, digest_of, note_commit
from api.http.response import Receipt
from api.security import invalid_token
from domain.accounts import ACCOUNTS
from domain.kernel.unit_of_work import Decide, StreamRef, UnitOfWork
from infra.eventsourcing.commands.attempt import CommandContext, CommandOutcome
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.commands.idempotency import Act, Answered
from infra.eventsourcing.consistency_token import encode
from infra.eventsourcing.store import Last
from infra.identity.server_secret import ServerSecret


class Authority(Protocol):
    """What a unit of work is decided on besides its own streams: that who acts may do so."""

    def over(self, targets: Sequence[StreamRef], decide: Decide) -> tuple[Sequence[StreamRef], Decide]:
        """The same work, together with what the authority rests on."""


class OwnKey(NamedTuple):
    """An idempotency key that a request has of itself: whose it is, and what it stands for, whichever way it comes."""

    principal: str
    key: str
    told: bytes


class CommandDispatcher:
    """Sends the commands of one request, in the name of whom it turns out to come from.

    ``actor`` stands for a client that is not signed in, and ``keys`` says whose idempotency keys are its own. By the
    ``authority`` all that is sent is checked once more, at its append.
    """

    __slots__ = ("_actor", "_authority", "_handler", "_keys", "_own_key", "_scope", "_secret")

    def __init__(
        self,
        handler: CommandHandler,
        secret: ServerSecret,
        scope: Scope,
        *,
        actor: str | None = None,
        keys: str | None = None,
        authority: Authority | None = None,
        own_key: OwnKey | None = None,
    ) -> None:
        self._handler = handler
        self._secret = secret
        self._scope = scope
        self._actor = actor
        self._keys = keys
        self._authority = authority
        self._own_key = own_key

    @property
    def handler(self) -> CommandHandler:
        """For what needs no receipt, such as looking at a state."""
        return self._handler

    def speaking_for(self, actor: str | None, *, keys: str) -> "CommandDispatcher":
        """The same request, now that something in it says whose it is: a signature, a link.

        What proves less than a sign-in has ``keys`` of its own: nobody shall use up the keys of an account by a name.
        """
        return CommandDispatcher(self._handler, self._secret, self._scope, actor=actor, keys=keys)

    async def of_a_stranger(self, name: str) -> "CommandDispatcher":
        """The same request by nobody yet, whose idempotency keys are told apart by the name they give."""
        return self.speaking_for(None, keys=f"anonymous:{(await self._secret.mac(b'anonymous', name.encode())).hex()}")

    def acting(self, authority: Authority) -> "CommandDispatcher":
        """The same request, all of whose work rests on the authority from here on."""
        return CommandDispatcher(
            self._handler, self._secret, self._scope, actor=self._actor, keys=self._keys, authority=authority
        )

    def under(self, key: OwnKey) -> "CommandDispatcher":
        """The same request under a key of its own. Raises Problem ``malformed-request`` where it comes with another."""
        if context_of(self._scope).idempotency_key is not None:
            raise Problem("malformed-request", "Send a client_id or an Idempotency-Key, not both.")
        return CommandDispatcher(
            self._handler, self._secret, self._scope, actor=self._actor, authority=self._authority, own_key=key
        )

    async def handle(self, target: StreamRef, command: Any) -> Receipt:
        """One command on one stream."""
        decider, entity_id = target

        def decide(work: UnitOfWork) -> None:
            work.execute(decider, entity_id, command)

        return await self.run([target], decide)

    async def entitled(self, account_id: UUID) -> tuple[int, Last | None]:
        """The version of the account's stream at which the log confirms the authority, and the event it is of.

        Nothing is stored. It is for what is then written beside the log. No condition of the client has a part in it.
        """
        context = unconditional(context_of(self._scope), account_id)
        outcome = await self._carried_out([(ACCOUNTS, account_id)], lambda _: None, context)
        return outcome.version, outcome.confirmed

    async def handle_unconditionally(self, target: StreamRef, command: Any, account_id: UUID) -> None:
        """One command, in the account's name, that must not fail for what the client says."""
        await self._handler.handle(target, command, unconditional(context_of(self._scope), account_id))
        self.note_commit()

    async def run(
        self,
        targets: Sequence[StreamRef],
        decide: Decide,
        *,
        new: int = 0,
        location: Callable[[CommandOutcome], str] | None = None,
    ) -> Receipt:
        """A unit of work over several streams, the first ``new`` of which it begins."""
        outcome = await self._carried_out(targets, decide, await self.conditions(), new)
        self.note_commit()
        return receipt(outcome, location(outcome) if location else None)

    def _carried_out(
        self, targets: Sequence[StreamRef], decide: Decide, context: CommandContext, new: int = 0
    ) -> Awaitable[CommandOutcome]:
        if self._authority is not None:
            targets, decide = self._authority.over(targets, decide)
        return self._handler.run(targets, decide, context, new=new)

    async def write(self, act: Act) -> Answered:
        """A write to state tables."""
        answered = await self._handler.write(act, await self.conditions())
        self.note_commit()
        return answered

    def note_commit(self) -> None:
        """For what is stored beside the log, by whoever stores it."""
        note_commit(self._scope)

    async def conditions(self) -> CommandContext:
        """The conditions of the request as the command handler takes them.

        Read when the command goes out and not before: who asks is found out by another dependency of the endpoint, and
        what an idempotency key stands for may be known only when the body has been read.
        """
        context = context_of(self._scope)
        principal = str(context.principal.id) if context.principal else None
        conditions = CommandContext(
            principal=principal or self._keys or "",
            actor=principal or self._actor,
            correlation=context.request_id,
            traceparent=context.traceparent,
            idempotency_key=context.idempotency_key,
            fingerprint=await self._fingerprint() if context.idempotency_key is not None else b"",
            if_match=context.if_match,
        )
        return conditions if self._own_key is None else await keyed(conditions, self._own_key, self._secret)

    async def conditions_from_here(self) -> CommandContext:
        """The conditions of a request by nobody about somebody else, perhaps: its key is that of who sent it alone.

        Anybody may know of whom it speaks, and guess at keys. Whoever sends it is known by nothing but the source, and
        neither that nor the key is kept as it is.
        """
        context = await self.conditions()
        if context.idempotency_key is None:
            return context
        sent = f"{source_of(self._scope)}\0{context.idempotency_key}".encode()
        return context._replace(idempotency_key=(await self._secret.mac(b"key from a source", sent)).hex())

    async def _fingerprint(self) -> bytes:
        """What is kept of the request. A plain digest of what can be guessed would tell whoever reads the table."""
        if self._keys is None and context_of(self._scope).principal is None:
            raise RuntimeError("nobody owns the idempotency keys of this route: see Sender.speaking_for")
        return await self._secret.mac(b"idempotency", digest_of(self._scope))


async def keyed(conditions: CommandContext, key: OwnKey, secret: ServerSecret) -> CommandContext:
    """The same conditions under that key."""
    return conditions._replace(
        principal=key.principal, idempotency_key=key.key, fingerprint=await secret.mac(b"idempotency", key.told)
    )


def unconditional(context: RequestContext, account_id: UUID) -> CommandContext:
    """The conditions of a command that must not fail for what the client says: there are none."""
    return CommandContext(
        principal=str(account_id),
        actor=str(account_id),
        correlation=context.request_id,
        traceparent=context.traceparent,
    )


def receipt(outcome: CommandOutcome, location: str | None = None) -> Receipt:
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


async def recall(request: Request) -> Receipt:
    """Answers in the place of an endpoint about accounts whose caller's access has ended, perhaps by its own success.

    What the very request came to is told again; whatever else it asks for, it is refused as by any other route.
    """
    asking = await get_commands(request, await get_write_side(request))
    outcome = await asking.handler.recall(ACCOUNTS, await asking.conditions())
    if outcome is None:
        raise invalid_token()
    return receipt(outcome)


async def get_commands(request: Request, side: WriteSideDep) -> CommandDispatcher:
    """The sender of this request's commands."""
    return CommandDispatcher(side.handler, side.secret, request.scope)


Commands = Annotated[CommandDispatcher, Depends(get_commands)]

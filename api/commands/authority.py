"""Whether who acts may still do so at the write itself, and not just when the request came in.

The account that acts goes along in the unit of work. The append confirms its version with all the others, so a decision
that was made on roles since taken away is not stored but made again, and then refused: no event of an account stands in
the log after the one that forbids it. What must be written so is all that an account may do beyond a customer's own
orders: other people's orders, the catalogue and the stock, accounts, and whatever keeps one's own.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends

from api.commands.dispatcher import CommandDispatcher, Commands
from api.dependencies import CurrentLogDep
from api.http.principal import Principal
from api.scopes import scopes_of
from api.security import require
from domain.accounts import ACCOUNTS, AccessEnded, Account, NotEntitled
from domain.kernel.unit_of_work import Decide, StreamRef, UnitOfWork
from infra.eventsourcing.current_log import CurrentLog

WhoAsks = Callable[..., Coroutine[Any, Any, Principal]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acting:
    """Who acts, by which scopes; of the scopes that the credentials themselves carry the door has made sure.

    What the account's stream says of a token counts in the history that the token is of, and ``log`` says which is now.
    """

    principal: Principal
    needs: frozenset[str]
    log: CurrentLog

    def over(self, targets: Sequence[StreamRef], decide: Decide) -> tuple[Sequence[StreamRef], Decide]:
        """The unit of work together with the account that does it."""
        name = (ACCOUNTS.category, self.principal.id)
        own: StreamRef = (ACCOUNTS, self.principal.id)

        def decide_if_entitled(work: UnitOfWork) -> None:
            # States of another history are read over a connection that has told of it before: it is known by now.
            if self.principal.session_id is not None and self.principal.history != self.log.history:
                raise AccessEnded("the log has another history than the token")
            check(work.state(*own), self.principal, self.needs)
            decide(work)

        declared = any((decider.category, entity_id) == name for decider, entity_id in targets)
        return targets if declared else [*targets, own], decide_if_entitled


def check(account: Account | None, principal: Principal, needs: frozenset[str]) -> None:
    """Raises :class:`~domain.accounts.AccessEnded` or :class:`~domain.accounts.NotEntitled`, as the door would."""
    if account is None or not account.active or _ended(account, principal):
        raise AccessEnded("the account is no longer spoken for by these credentials")
    if not needs <= scopes_of(account.roles):
        raise NotEntitled("the account's roles do not reach this far")


def _ended(account: Account, principal: Principal) -> bool:
    if principal.api_key_id is not None:
        return account.endings.of_key(principal.api_key_id, principal.version)
    session_id, version = principal.session_id, principal.version
    return session_id is None or account.endings.of_token(session_id, version)


def acting(*scopes: str) -> Callable[..., Coroutine[Any, Any, CommandDispatcher]]:
    """A dependency that gives a sender for those who may do all that the scopes name, when they ask and at the write.

    ``Admin = Annotated[Sender, Depends(acting("accounts:admin"))]``
    """
    return acting_as(require(*scopes), *scopes)


def acting_as(who: WhoAsks, *needs: str) -> Callable[..., Coroutine[Any, Any, CommandDispatcher]]:
    """The same for whoever the dependency ``who`` lets in, so long as their credentials are good."""

    async def sender(
        principal: Annotated[Principal, Depends(who)], commands: Commands, log: CurrentLogDep
    ) -> CommandDispatcher:
        return commands.acting(Acting(principal=principal, needs=frozenset(needs), log=log))

    return sender

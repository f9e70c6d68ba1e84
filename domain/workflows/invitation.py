"""An invitation, where rooms meet accounts: nobody is asked into a room who is not there."""

from uuid import UUID

from domain.accounts import ACCOUNTS
from domain.kernel.refusals import Refusal
from domain.kernel.unit_of_work import UnitOfWork, Workflow
from domain.rooms import ROOMS, InviteToRoom


class UnknownAccount(Refusal):
    """The invitation names no account, or one that nobody can sign in to."""

    code = "unknown-account"


def invite(room_id: UUID, command: InviteToRoom) -> Workflow:
    """Asks the account in. The room is asked first: to whom it is not theirs, it tells nothing of accounts."""

    def decide(work: UnitOfWork) -> None:
        work.execute(ROOMS, room_id, command)
        guest = work.state(ACCOUNTS, command.account_id)
        if guest is None or not guest.active:
            raise UnknownAccount("there is no such account", pointer="/account_id")

    return [(ROOMS, room_id), (ACCOUNTS, command.account_id)], decide

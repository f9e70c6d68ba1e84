"""Whether an import may go on: by whose account it is, and by the session or the API key that it was begun with."""

from typing import Final

from domain.accounts import AccessEnded, Account, NotEntitled
from domain.accounts.scopes import scopes_of
from infra.imports import Claimed

CATALOGUE: Final = "catalogue:write"
"""What whoever imports must be allowed to do, at the append of each row: an import may outlive its owner's roles."""

STOPPED: Final = (AccessEnded, NotEntitled)
"""What stops the import as a whole, whichever row was the first to hear of it."""


def check(account: Account | None, mine: Claimed) -> None:
    """Raises :class:`~domain.accounts.NotEntitled` or :class:`~domain.accounts.AccessEnded`."""
    if account is None or not account.active or CATALOGUE not in scopes_of(account.roles):
        raise NotEntitled("Whose import it is may not change the catalogue any more.")
    if _ended(account, mine):
        raise AccessEnded("The session or the API key that the import was begun with has ended.")


def _ended(account: Account, mine: Claimed) -> bool:
    if mine.api_key_id is not None:
        return account.endings.of_key(mine.api_key_id, mine.account_version)
    return mine.session_id is not None and account.endings.of_session(mine.session_id, mine.account_version)

"""The state of an account, as its events leave it."""

from dataclasses import dataclass, field, replace
from typing import assert_never
from uuid import UUID

from domain.accounts.endings import Endings
from domain.accounts.messages import (
    AccessEvent,
    AccountActivated,
    AccountApiKeyRevoked,
    AccountDeactivated,
    AccountEmailVerificationRequested,
    AccountEmailVerified,
    AccountErased,
    AccountEvent,
    AccountPasswordChanged,
    AccountPasswordResetRequested,
    AccountProfileChanged,
    AccountRegistered,
    AccountRolesChanged,
    AccountSessionEnded,
    AccountTokenReused,
    AccountUsernameChanged,
    PersonEvent,
    Role,
    StandingEvent,
)
from domain.kernel.refusals import DoesNotExist


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account as its events leave it.

    ``password_no`` counts the passwords it has had before: what was made under an older one (a hash, a session other
    than ``kept_session``) is void, even while the row that says so is still to be written.
    ``reset_open`` from the request of a password reset until a password is chosen by it.

    ``version`` counts its events, and ``closed_at`` (its last deactivation, 0 for none) and ``endings`` refer to them:
    where it stands in its stream, not what it is.
    """

    account_id: UUID
    email: str = field(repr=False)
    email_key: str = field(repr=False)
    username: str = field(repr=False)
    username_key: str = field(repr=False)
    roles: tuple[Role, ...]
    active: bool = True
    email_verified: bool = False
    full_name: str | None = field(default=None, repr=False)
    bio: str | None = field(default=None, repr=False)
    password_no: int = 0
    kept_session: UUID | None = None
    reset_open: bool = False
    erased: bool = False
    version: int = field(default=0, compare=False)
    closed_at: int = field(default=0, compare=False)
    endings: Endings = field(default=Endings(), compare=False)

    def keeps(self, session_id: UUID, password_no: int, begun_at: int | None) -> bool:
        """Whether a session may go on that was begun at that version of the account, under the password of that number.

        ``begun_at`` is None for a session of a release that did not say so: its end is for its row to tell.
        """
        if not self.active or self.endings.of(session_id) or (begun_at is not None and begun_at < self.closed_at):
            return False
        return password_no == self.password_no or session_id == self.kept_session


def evolve(account: Account | None, event: AccountEvent) -> Account:
    """The account after the event."""
    after = _after(account, event)
    version = after.version + 1
    return replace(after, version=version, endings=after.endings.then(version, event))


def _after(account: Account | None, event: AccountEvent) -> Account:
    if isinstance(event, AccountRegistered):
        return _registered(event)
    known = known_account(account)
    match event:
        case AccountActivated() | AccountDeactivated() | AccountRolesChanged():
            return _after_standing(known, event)
        case AccountEmailVerificationRequested():
            return known
        case AccountEmailVerified() | AccountUsernameChanged() | AccountProfileChanged():
            return _after_person(known, event)
        case AccountErased():
            return replace(known, active=False, erased=True)
        case _:
            return _after_access(known, event)


def known_account(account: Account | None) -> Account:
    """The account, if it was ever registered. Raises :class:`~domain.kernel.refusals.DoesNotExist`."""
    if account is None:
        raise DoesNotExist("there is no such account")
    return account


def _registered(event: AccountRegistered) -> Account:
    return Account(
        account_id=event.account_id,
        email=event.email,
        email_key=event.email_key,
        username=event.username,
        username_key=event.username_key,
        roles=event.roles,
    )


def _after_standing(account: Account, event: StandingEvent) -> Account:
    match event:
        case AccountActivated():
            return replace(account, active=True)
        case AccountDeactivated():
            return replace(account, active=False, reset_open=False, closed_at=account.version + 1)
        case AccountRolesChanged(roles=roles):
            return replace(account, roles=roles)
        case _:
            assert_never(event)


def _after_person(account: Account, event: PersonEvent) -> Account:
    match event:
        case AccountEmailVerified():
            return replace(account, email_verified=True)
        case AccountUsernameChanged():
            return replace(account, username=event.username, username_key=event.username_key)
        case AccountProfileChanged():
            return replace(account, full_name=event.full_name, bio=event.bio)
        case _:
            assert_never(event)


def _after_access(account: Account, event: AccessEvent) -> Account:
    match event:
        case AccountPasswordChanged():
            return replace(
                account,
                password_no=account.password_no + 1,
                kept_session=event.kept_session,
                reset_open=False,
            )
        case AccountPasswordResetRequested():
            return replace(account, reset_open=True)
        case AccountSessionEnded() | AccountTokenReused() | AccountApiKeyRevoked():
            return account
        case _:
            assert_never(event)

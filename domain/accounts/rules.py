"""How an account lives, from its registration to its erasure: its state, and the rules between the events."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, assert_never
from uuid import UUID

from domain.accounts.messages import (
    AccessCommand,
    AccessEvent,
    AccountActivated,
    AccountCommand,
    AccountDeactivated,
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
    ActivateAccount,
    ChangePassword,
    ChangeProfile,
    ChangeRoles,
    ChangeUsername,
    DeactivateAccount,
    EndSession,
    EraseAccount,
    InvalidLink,
    PasswordChangedBy,
    PersonCommand,
    PersonEvent,
    RegisterAccount,
    ReportTokenReuse,
    RequestPasswordReset,
    Role,
    StandingCommand,
    StandingEvent,
    VerifyEmail,
)
from domain.accounts.names import email_key, username_key
from domain.decider import Claim, Decider
from domain.errors import AlreadyExists, DoesNotExist
from domain.values import line, text

LONGEST_FULL_NAME: Final = 200
LONGEST_BIO: Final = 2000


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account as its events leave it.

    ``password_no`` counts the passwords it has had before: what was made under an older one (a hash, a session other
    than ``kept_session``) is void, even while the row that says so is still to be written.
    ``reset_open`` from the request of a password reset until a password is chosen by it. ``last_ended`` is the session
    whose end was told last: several who see it end at once tell it once.
    """

    account_id: UUID
    email: str
    email_key: str
    username: str
    username_key: str
    roles: tuple[Role, ...]
    active: bool = True
    email_verified: bool = False
    full_name: str | None = None
    bio: str | None = None
    password_no: int = 0
    kept_session: UUID | None = None
    reset_open: bool = False
    last_ended: UUID | None = None
    erased: bool = False

    def keeps(self, session_id: UUID, password_no: int) -> bool:
        """Whether a session that was begun under the password of that number may go on."""
        return self.active and (password_no == self.password_no or session_id == self.kept_session)


def decide(command: AccountCommand, account: Account | None) -> Sequence[AccountEvent]:
    """What the command changes; nothing if it is so already. To an erased account nothing can be said but that."""
    if isinstance(command, RegisterAccount):
        return _register(command, account)
    known = _known(account)
    if isinstance(command, EraseAccount):
        return [] if known.erased else [AccountErased(account_id=known.account_id)]
    if known.erased:
        raise DoesNotExist("there is no such account")
    match command:
        case ActivateAccount() | DeactivateAccount() | ChangeRoles():
            return _standing(command, known)
        case VerifyEmail() | ChangeUsername() | ChangeProfile():
            return _person(command, known)
        case _:
            return _access(command, known)


def evolve(account: Account | None, event: AccountEvent) -> Account:
    """The account after the event."""
    if isinstance(event, AccountRegistered):
        return _registered(event)
    known = _known(account)
    match event:
        case AccountActivated() | AccountDeactivated() | AccountRolesChanged():
            return _after_standing(known, event)
        case AccountEmailVerified() | AccountUsernameChanged() | AccountProfileChanged():
            return _after_person(known, event)
        case AccountErased():
            return replace(known, active=False, erased=True)
        case _:
            return _after_access(known, event)


def claims(account: Account | None, event: AccountEvent) -> Sequence[Claim]:
    """An email and a username belong to one account."""
    if isinstance(event, AccountRegistered):
        return (
            Claim(scope="email", key=event.email_key, pointer="/email"),
            Claim(scope="username", key=event.username_key, pointer="/username"),
        )
    if account is None:
        return ()
    if isinstance(event, AccountErased):
        return (
            Claim(scope="email", key=account.email_key, released=True),
            Claim(scope="username", key=account.username_key, released=True),
        )
    if isinstance(event, AccountUsernameChanged) and event.username_key != account.username_key:
        return (
            Claim(scope="username", key=account.username_key, released=True),
            Claim(scope="username", key=event.username_key, pointer="/username"),
        )
    return ()


def _register(command: RegisterAccount, account: Account | None) -> Sequence[AccountEvent]:
    if account is not None:
        raise AlreadyExists("the account is registered already")
    return [
        AccountRegistered(
            account_id=command.account_id,
            email=command.email,
            email_key=email_key(command.email),
            username=command.username,
            username_key=username_key(command.username),
            roles=_ordered(command.roles),
        )
    ]


def _registered(event: AccountRegistered) -> Account:
    return Account(
        account_id=event.account_id,
        email=event.email,
        email_key=event.email_key,
        username=event.username,
        username_key=event.username_key,
        roles=event.roles,
    )


def _standing(command: StandingCommand, account: Account) -> Sequence[AccountEvent]:
    match command:
        case ActivateAccount():
            return [] if account.active else [AccountActivated(account_id=account.account_id)]
        case DeactivateAccount():
            return [AccountDeactivated(account_id=account.account_id)] if account.active else []
        case ChangeRoles(roles=roles):
            wanted = _ordered(roles)
            return [] if wanted == account.roles else [AccountRolesChanged(account_id=account.account_id, roles=wanted)]
        case _:
            assert_never(command)


def _after_standing(account: Account, event: StandingEvent) -> Account:
    match event:
        case AccountActivated():
            return replace(account, active=True)
        case AccountDeactivated():
            return replace(account, active=False, reset_open=False)
        case AccountRolesChanged(roles=roles):
            return replace(account, roles=roles)
        case _:
            assert_never(event)


def _person(command: PersonCommand, account: Account) -> Sequence[AccountEvent]:
    match command:
        case VerifyEmail():
            return _verify(account)
        case ChangeUsername(username=username):
            return _change_username(username, account)
        case ChangeProfile():
            return _change_profile(command, account)
        case _:
            assert_never(command)


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


def _access(command: AccessCommand, account: Account) -> Sequence[AccountEvent]:
    match command:
        case ChangePassword():
            return _change_password(command, account)
        case RequestPasswordReset():
            # Whoever may not sign in has no use for a password, and is not mailed at a stranger's wish.
            return [AccountPasswordResetRequested(account_id=account.account_id)] if account.active else []
        case EndSession() | ReportTokenReuse():
            return _end_session(command, account)
        case _:
            assert_never(command)


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
        case AccountSessionEnded(session_id=session_id) | AccountTokenReused(session_id=session_id):
            return replace(account, last_ended=session_id)
        case _:
            assert_never(event)


def _verify(account: Account) -> Sequence[AccountEvent]:
    if account.email_verified:
        return []
    return [AccountEmailVerified(account_id=account.account_id, email=account.email)]


def _change_username(username: str, account: Account) -> Sequence[AccountEvent]:
    if username == account.username:
        return []
    key = username_key(username)
    return [AccountUsernameChanged(account_id=account.account_id, username=username, username_key=key)]


def _change_profile(command: ChangeProfile, account: Account) -> Sequence[AccountEvent]:
    name, bio = command.full_name, command.bio
    said = AccountProfileChanged(
        account_id=account.account_id,
        full_name=None if name is None else line(name, "/full_name", longest=LONGEST_FULL_NAME),
        bio=None if bio is None else text(bio, "/bio", longest=LONGEST_BIO, blank=True),
    )
    return [] if evolve(account, said) == account else [said]


def _change_password(command: ChangePassword, account: Account) -> Sequence[AccountEvent]:
    """A reset answers a request, once. Its link went to the account's address, so using it verifies that, too."""
    changed = AccountPasswordChanged(account_id=account.account_id, by=command.by, kept_session=command.kept_session)
    if command.by is PasswordChangedBy.OWNER:
        return [changed]
    if not account.reset_open:
        raise InvalidLink("the link has been used or has run out")
    return [*_verify(account), changed]


def _end_session(command: EndSession | ReportTokenReuse, account: Account) -> Sequence[AccountEvent]:
    if command.session_id == account.last_ended:
        return []
    if isinstance(command, ReportTokenReuse):
        return [AccountTokenReused(account_id=account.account_id, session_id=command.session_id)]
    return [AccountSessionEnded(account_id=account.account_id, session_id=command.session_id, by=command.by)]


def _known(account: Account | None) -> Account:
    if account is None:
        raise DoesNotExist("there is no such account")
    return account


def _ordered(roles: Iterable[Role]) -> tuple[Role, ...]:
    wanted = set(roles)
    return tuple(role for role in Role if role in wanted)


ACCOUNTS: Final = Decider[AccountCommand, AccountEvent, Account | None](
    category="account", initial=None, decide=decide, evolve=evolve, claims=claims
)

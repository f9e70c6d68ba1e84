"""The decider of accounts: the rules between an account's events, from its registration to its erasure."""

from collections.abc import Iterable, Sequence
from typing import Final, assert_never

from domain.accounts.messages import (
    AccessCommand,
    AccountActivated,
    AccountApiKeyRevoked,
    AccountCommand,
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
    RegisterAccount,
    ReportTokenReuse,
    RequestEmailVerification,
    RequestPasswordReset,
    RevokeApiKey,
    Role,
    StandingCommand,
    VerifyEmail,
)
from domain.accounts.names import email_key, new_email, new_username, username_key
from domain.accounts.state import Account, evolve, known_account
from domain.kernel.decider import Claim, Decider
from domain.kernel.refusals import AlreadyExists, DoesNotExist
from domain.values import line, text

LONGEST_FULL_NAME: Final = 200
LONGEST_BIO: Final = 2000


def decide(command: AccountCommand, account: Account | None) -> Sequence[AccountEvent]:
    """What the command changes; nothing if it is so already. To an erased account nothing can be said but that."""
    if isinstance(command, RegisterAccount):
        return _register(command, account)
    known = known_account(account)
    if isinstance(command, EraseAccount):
        return [] if known.erased else [AccountErased(account_id=known.account_id)]
    if known.erased:
        raise DoesNotExist("there is no such account")
    match command:
        case ActivateAccount() | DeactivateAccount() | ChangeRoles():
            return _standing(command, known)
        case RequestEmailVerification() | VerifyEmail() | ChangeUsername() | ChangeProfile():
            return _person(command, known)
        case _:
            return _access(command, known)


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
    email, username = new_email(command.email), new_username(command.username)
    return [
        AccountRegistered(
            account_id=command.account_id,
            email=email,
            email_key=email_key(email),
            username=username,
            username_key=username_key(username),
            roles=_ordered(command.roles),
            language=command.language,
        )
    ]


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


def _person(command: PersonCommand, account: Account) -> Sequence[AccountEvent]:
    match command:
        case RequestEmailVerification():
            return _ask_again(account)
        case VerifyEmail():
            return _verify(account)
        case ChangeUsername(username=username):
            return _change_username(username, account)
        case ChangeProfile():
            return _change_profile(command, account)
        case _:
            assert_never(command)


def _access(command: AccessCommand, account: Account) -> Sequence[AccountEvent]:
    match command:
        case ChangePassword():
            return _change_password(command, account)
        case RequestPasswordReset():
            # Whoever may not sign in has no use for a password, and is not mailed at a stranger's wish.
            return [AccountPasswordResetRequested(account_id=account.account_id)] if account.active else []
        case EndSession() | ReportTokenReuse():
            return _end_session(command, account)
        case RevokeApiKey(key_id=key_id):
            known = account.endings.of(key_id)
            return [] if known else [AccountApiKeyRevoked(account_id=account.account_id, key_id=key_id)]
        case _:
            assert_never(command)


def _ask_again(account: Account) -> Sequence[AccountEvent]:
    wanted = account.active and not account.email_verified
    return [AccountEmailVerificationRequested(account_id=account.account_id)] if wanted else []


def _verify(account: Account) -> Sequence[AccountEvent]:
    if account.email_verified:
        return []
    return [AccountEmailVerified(account_id=account.account_id, email=account.email)]


def _change_username(username: str, account: Account) -> Sequence[AccountEvent]:
    if username.strip() == account.username:
        return []
    wanted = new_username(username)
    return [AccountUsernameChanged(account_id=account.account_id, username=wanted, username_key=username_key(wanted))]


def _change_profile(command: ChangeProfile, account: Account) -> Sequence[AccountEvent]:
    name, bio = command.full_name, command.bio
    # What is so already was taken by the rules of its day.
    if name is not None and name != account.full_name:
        name = line(name, "/full_name", longest=LONGEST_FULL_NAME)
    if bio is not None and bio != account.bio:
        bio = text(bio, "/bio", longest=LONGEST_BIO, blank=True)
    said = AccountProfileChanged(account_id=account.account_id, full_name=name, bio=bio)
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
    """Several who see it end tell it once."""
    if account.endings.of(command.session_id):
        return []
    if isinstance(command, ReportTokenReuse):
        return [AccountTokenReused(account_id=account.account_id, session_id=command.session_id)]
    return [AccountSessionEnded(account_id=account.account_id, session_id=command.session_id, by=command.by)]


def _ordered(roles: Iterable[Role]) -> tuple[Role, ...]:
    wanted = set(roles)
    return tuple(role for role in Role if role in wanted)


ACCOUNTS: Final = Decider[AccountCommand, AccountEvent, Account | None](
    category="account", initial=None, decide=decide, evolve=evolve, claims=claims
)

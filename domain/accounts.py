"""Accounts: who may sign in, under which unique email and username, with which roles.

Passwords and all that is derived from them are not events: they live beside the log and can be forgotten.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from domain.decider import Claim, Decider
from domain.errors import AlreadyExists, DoesNotExist, InvalidValue
from domain.messages import Command, Event
from domain.values import line, normal_form

LONGEST_EMAIL: Final = 254
LONGEST_USERNAME: Final = 64


class Role(StrEnum):
    """What an account may do; the edge turns roles into scopes."""

    CUSTOMER = "customer"
    STAFF = "staff"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class RegisterAccount(Command):
    """Make an account."""

    account_id: UUID
    email: str
    username: str
    roles: tuple[Role, ...] = (Role.CUSTOMER,)


@dataclass(frozen=True, kw_only=True)
class ActivateAccount(Command):
    """Let the account sign in again."""


@dataclass(frozen=True, kw_only=True)
class DeactivateAccount(Command):
    """Stop the account from signing in."""


@dataclass(frozen=True, kw_only=True)
class ChangeRoles(Command):
    """Give the account exactly these roles."""

    roles: tuple[Role, ...]


@dataclass(frozen=True, kw_only=True)
class AccountRegistered(Event):
    """``email`` and ``username`` are as given.

    The keys are their normal forms, stored because a claim must be given back under the very key it was taken under,
    even when a later Unicode version would fold it otherwise.
    """

    account_id: UUID
    email: str
    email_key: str
    username: str
    username_key: str
    roles: tuple[Role, ...]


@dataclass(frozen=True, kw_only=True)
class AccountActivated(Event):
    """The account may sign in again."""

    account_id: UUID


@dataclass(frozen=True, kw_only=True)
class AccountDeactivated(Event):
    """The account may not sign in."""

    account_id: UUID


@dataclass(frozen=True, kw_only=True)
class AccountRolesChanged(Event):
    """The account has exactly these roles."""

    account_id: UUID
    roles: tuple[Role, ...]


AccountCommand: TypeAlias = RegisterAccount | ActivateAccount | DeactivateAccount | ChangeRoles
AccountEvent: TypeAlias = AccountRegistered | AccountActivated | AccountDeactivated | AccountRolesChanged


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account as its events leave it."""

    account_id: UUID
    email: str
    email_key: str
    username: str
    username_key: str
    roles: tuple[Role, ...]
    active: bool


def email_key(email: str) -> str:
    """The normal form of an email address: local part folded, domain folded and in its IDNA (ASCII) form."""
    local, at, domain = line(email, "/email", longest=LONGEST_EMAIL).strip().rpartition("@")
    if not (local and at and domain):
        raise InvalidValue("must be an email address", pointer="/email")
    try:
        return f"{normal_form(local)}@{normal_form(domain).encode('idna').decode('ascii').lower()}"
    except UnicodeError:
        raise InvalidValue("must have a valid domain", pointer="/email") from None


def username_key(username: str) -> str:
    """The normal form of a username: letters, digits, ``.``, ``_``, ``-``.

    There is no ``@`` in it, because people sign in with either name: nobody may be called like another's address.
    """
    key = normal_form(line(username, "/username", longest=LONGEST_USERNAME))
    if not all(letter.isalnum() or letter in "._-" for letter in key):
        raise InvalidValue("may have letters, digits, '.', '_' and '-'", pointer="/username")
    return key


def decide(command: AccountCommand, account: Account | None) -> Sequence[AccountEvent]:
    """What the command changes; nothing if it is so already."""
    if isinstance(command, RegisterAccount):
        return _register(command, account)
    known = _known(account)
    match command:
        case ActivateAccount():
            return [] if known.active else [AccountActivated(account_id=known.account_id)]
        case DeactivateAccount():
            return [AccountDeactivated(account_id=known.account_id)] if known.active else []
        case ChangeRoles(roles=roles):
            wanted = _ordered(roles)
            return [] if wanted == known.roles else [AccountRolesChanged(account_id=known.account_id, roles=wanted)]
        case _:
            assert_never(command)


def evolve(account: Account | None, event: AccountEvent) -> Account:
    """The account after the event."""
    match event:
        case AccountRegistered():
            return Account(
                account_id=event.account_id,
                email=event.email,
                email_key=event.email_key,
                username=event.username,
                username_key=event.username_key,
                roles=event.roles,
                active=True,
            )
        case AccountActivated():
            return replace(_known(account), active=True)
        case AccountDeactivated():
            return replace(_known(account), active=False)
        case AccountRolesChanged(roles=roles):
            return replace(_known(account), roles=roles)
        case _:
            assert_never(event)


def claims(_account: Account | None, event: AccountEvent) -> Sequence[Claim]:
    """An email and a username belong to one account."""
    if not isinstance(event, AccountRegistered):
        return ()
    return (
        Claim(scope="email", key=event.email_key, pointer="/email"),
        Claim(scope="username", key=event.username_key, pointer="/username"),
    )


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

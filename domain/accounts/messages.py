"""Commands, events and refusals of accounts."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from domain.kernel.messages import Command, Event
from domain.kernel.refusals import Refusal


class Role(StrEnum):
    """What an account may do; the edge turns roles into scopes."""

    CUSTOMER = "customer"
    STAFF = "staff"
    ADMIN = "admin"


class PasswordChangedBy(StrEnum):
    """Who chose a new password: the owner who knew the old one, or somebody with a reset link to the owner's mail."""

    OWNER = "owner"
    RESET = "reset"


class EndedBy(StrEnum):
    """How a session ended: it was left, its owner ended it from another one, or an admin did."""

    LOGOUT = "logout"
    OWNER = "owner"
    ADMIN = "admin"


class WrongPassword(Refusal):
    """Whoever asks does not know the account's password."""

    code = "wrong-password"


class AccessEnded(Refusal):
    """What the account is spoken for with counts no more: its token, session or API key has ended, or it has."""

    code = "unauthenticated"


class NotEntitled(Refusal):
    """The account's roles do not reach this far, or no longer."""

    code = "insufficient-scope"


class InvalidLink(Refusal):
    """The link was never sent, has been used, has run out, or a newer one has taken its place."""

    code = "invalid-link"


@dataclass(frozen=True, kw_only=True)
class RegisterAccount(Command):
    """Make an account. ``language`` is the one of ours that its owner reads best, if that is known."""

    account_id: UUID
    email: str = field(repr=False)
    username: str = field(repr=False)
    roles: tuple[Role, ...] = (Role.CUSTOMER,)
    language: str | None = None


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
class RequestEmailVerification(Command):
    """Mail the owner another link by which to show that the address is theirs."""


@dataclass(frozen=True, kw_only=True)
class VerifyEmail(Command):
    """The account's address has been shown to be its owner's."""


@dataclass(frozen=True, kw_only=True)
class ChangeUsername(Command):
    """Give the account another username; the old one is free again."""

    username: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ChangeProfile(Command):
    """Have the account say exactly this of its owner."""

    full_name: str | None = field(repr=False)
    bio: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ChangePassword(Command):
    """A new password counts from here on. All sessions end but ``kept_session``."""

    by: PasswordChangedBy
    kept_session: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class RequestPasswordReset(Command):
    """Mail the owner a link by which the password can be chosen anew, once."""


@dataclass(frozen=True, kw_only=True)
class EndSession(Command):
    """End one of the account's sessions. Which ones there are is not told by events: the caller knows."""

    session_id: UUID
    by: EndedBy


@dataclass(frozen=True, kw_only=True)
class RevokeApiKey(Command):
    """Nothing is to be done with the API key any more. Which ones there are is not told by events: the caller knows."""

    key_id: UUID


@dataclass(frozen=True, kw_only=True)
class ReportTokenReuse(Command):
    """A refresh token came a second time: one of the two who had it was a thief. Its session ends."""

    session_id: UUID


@dataclass(frozen=True, kw_only=True)
class EraseAccount(Command):
    """End the account for good; its names are free again."""


@dataclass(frozen=True, kw_only=True)
class AccountRegistered(Event):
    """``email`` and ``username`` are as given; ``language`` (RFC 5646) is None where none was asked for that we have.

    The keys are their normal forms, stored because a claim must be given back under the very key it was taken under,
    even when a later Unicode version would fold it otherwise.
    """

    account_id: UUID
    email: str = field(repr=False)
    email_key: str = field(repr=False)
    username: str = field(repr=False)
    username_key: str = field(repr=False)
    roles: tuple[Role, ...]
    language: str | None = None


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


@dataclass(frozen=True, kw_only=True)
class AccountEmailVerificationRequested(Event):
    """The owner, who has not yet shown that the address is theirs, asked for another link to do so."""

    account_id: UUID


@dataclass(frozen=True, kw_only=True)
class AccountEmailVerified(Event):
    """Whoever has the account reads the mail at its address."""

    account_id: UUID
    email: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class AccountUsernameChanged(Event):
    """The account has this username; ``username_key`` is its normal form, under which it is claimed."""

    account_id: UUID
    username: str = field(repr=False)
    username_key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class AccountProfileChanged(Event):
    """The account says exactly this of its owner."""

    account_id: UUID
    full_name: str | None = field(repr=False)
    bio: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class AccountPasswordChanged(Event):
    """Another password counts, and all sessions but ``kept_session`` have ended. Neither it nor its hash is here."""

    account_id: UUID
    by: PasswordChangedBy
    kept_session: UUID | None


@dataclass(frozen=True, kw_only=True)
class AccountPasswordResetRequested(Event):
    """Somebody, perhaps a stranger, asked for a link to choose a new password by."""

    account_id: UUID


@dataclass(frozen=True, kw_only=True)
class AccountSessionEnded(Event):
    """Nothing that the session was given counts any more."""

    account_id: UUID
    session_id: UUID
    by: EndedBy


@dataclass(frozen=True, kw_only=True)
class AccountTokenReused(Event):
    """A refresh token of the session came twice; the session has ended."""

    account_id: UUID
    session_id: UUID


@dataclass(frozen=True, kw_only=True)
class AccountApiKeyRevoked(Event):
    """The API key counts no more."""

    account_id: UUID
    key_id: UUID


@dataclass(frozen=True, kw_only=True)
class AccountErased(Event):
    """There is no such account any more."""

    account_id: UUID


StandingCommand: TypeAlias = ActivateAccount | DeactivateAccount | ChangeRoles
PersonCommand: TypeAlias = RequestEmailVerification | VerifyEmail | ChangeUsername | ChangeProfile
AccessCommand: TypeAlias = ChangePassword | RequestPasswordReset | EndSession | ReportTokenReuse | RevokeApiKey
AccountCommand: TypeAlias = RegisterAccount | StandingCommand | PersonCommand | AccessCommand | EraseAccount

StandingEvent: TypeAlias = AccountActivated | AccountDeactivated | AccountRolesChanged
PersonEvent: TypeAlias = AccountEmailVerified | AccountUsernameChanged | AccountProfileChanged
AccessEvent: TypeAlias = (
    AccountPasswordChanged
    | AccountPasswordResetRequested
    | AccountSessionEnded
    | AccountTokenReused
    | AccountApiKeyRevoked
)
AccountEvent: TypeAlias = (
    AccountRegistered | StandingEvent | AccountEmailVerificationRequested | PersonEvent | AccessEvent | AccountErased
)

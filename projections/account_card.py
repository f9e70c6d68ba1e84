"""The read model of one account: who it is, what it may do, and whether it may sign in. An erased account has none."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from domain.accounts import (
    AccountActivated,
    AccountApiKeyRevoked,
    AccountDeactivated,
    AccountEmailVerificationRequested,
    AccountEmailVerified,
    AccountErased,
    AccountPasswordChanged,
    AccountPasswordResetRequested,
    AccountProfileChanged,
    AccountRegistered,
    AccountRolesChanged,
    AccountSessionEnded,
    AccountTokenReused,
    AccountUsernameChanged,
    Role,
)
from domain.messages import Recorded
from domain.values import normal_form
from projections.declaration import ByStream, Column, Projection, amend, make


@dataclass(frozen=True, kw_only=True)
class AccountCard:
    """The account document. ``updated_at`` is when it last said something else: signing out moves only the version."""

    id: UUID
    email: str = field(repr=False)
    email_verified: bool
    username: str = field(repr=False)
    full_name: str | None = field(repr=False)
    bio: str | None = field(repr=False)
    roles: tuple[Role, ...]
    active: bool
    created_at: datetime
    updated_at: datetime
    version: int


def project(row: AccountCard | None, event: Recorded) -> AccountCard | None:
    """The account after the event; None once it is erased.

    Nothing can happen to an account that was never registered: where there is no row, it has been erased, and whatever
    is told of it after that has nothing to change and must not bring it back.
    """
    if isinstance(event.data, AccountRegistered):
        return _registered(event.data, event)
    if row is None or isinstance(event.data, AccountErased):
        return None
    return _changed(row, event)


def _changed(card: AccountCard, event: Recorded) -> AccountCard:
    version, now = event.version, event.recorded_at
    match event.data:
        case AccountEmailVerified():
            return amend(card, version=version, updated_at=now, email_verified=True)
        case AccountUsernameChanged(username=username):
            return amend(card, version=version, updated_at=now, username=username)
        case AccountProfileChanged(full_name=full_name, bio=bio):
            return amend(card, version=version, updated_at=now, full_name=full_name, bio=bio)
        case AccountRolesChanged(roles=roles):
            return amend(card, version=version, updated_at=now, roles=roles)
        case AccountActivated():
            return amend(card, version=version, updated_at=now, active=True)
        case AccountDeactivated():
            return amend(card, version=version, updated_at=now, active=False)
        case _:
            return amend(card, version=version)


def _registered(registered: AccountRegistered, event: Recorded) -> AccountCard:
    return make(
        AccountCard,
        id=registered.account_id,
        email=registered.email,
        email_verified=False,
        username=registered.username,
        full_name=None,
        bio=None,
        roles=registered.roles,
        active=True,
        created_at=event.recorded_at,
        updated_at=event.recorded_at,
        version=event.version,
    )


ACCOUNT_CARD: Final = Projection[AccountCard](
    name="account_card",
    version=2,
    row=AccountCard,
    begins=frozenset({AccountRegistered}),
    handles=frozenset(
        {
            AccountRegistered,
            AccountActivated,
            AccountDeactivated,
            AccountRolesChanged,
            AccountEmailVerificationRequested,
            AccountEmailVerified,
            AccountUsernameChanged,
            AccountProfileChanged,
            AccountPasswordChanged,
            AccountPasswordResetRequested,
            AccountSessionEnded,
            AccountTokenReused,
            AccountApiKeyRevoked,
            AccountErased,
        }
    ),
    unopened=frozenset(
        {
            AccountActivated,
            AccountDeactivated,
            AccountEmailVerificationRequested,
            AccountEmailVerified,
            AccountPasswordChanged,
            AccountPasswordResetRequested,
            AccountSessionEnded,
            AccountTokenReused,
            AccountApiKeyRevoked,
            AccountErased,
        }
    ),
    key=ByStream(),
    project=project,
    columns=(
        Column("email", "text", lambda card: normal_form(card.email)),
        Column("username", "text", lambda card: normal_form(card.username)),
        Column("roles", "text[]", lambda card: [role.value for role in card.roles]),
        Column("active", "boolean", lambda card: card.active),
        Column("created_at", "timestamptz", lambda card: card.created_at),
    ),
    indexes=(
        "(created_at DESC, key DESC)",
        "(active, created_at DESC, key DESC)",
        "USING gin (roles) WITH (gin_pending_list_limit = 64)",
        "USING gin (email gin_trgm_ops) WITH (gin_pending_list_limit = 64)",
        "USING gin (username gin_trgm_ops) WITH (gin_pending_list_limit = 64)",
    ),
)

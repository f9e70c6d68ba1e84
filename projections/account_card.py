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
from domain.values import normal_form
from infra.eventsourcing.projections.fold_table import AT, Begins, Ends, Folds, Is, Its, Sets
from infra.eventsourcing.projections.projection import ByStream, Column, Projection


@dataclass(frozen=True, kw_only=True)
class AccountCard:
    """The account document."""

    id: UUID
    """The account's id."""
    email: str = field(repr=False)
    """Where mails go."""
    email_verified: bool
    """Whether its owner has followed a link that was mailed there."""
    username: str = field(repr=False)
    """The name to sign in with."""
    full_name: str | None = field(repr=False)
    """How its owner wants to be called."""
    bio: str | None = field(repr=False)
    """What its owner says of themselves."""
    roles: tuple[Role, ...]
    """What it may do."""
    active: bool
    """Whether anybody can sign in to it."""
    created_at: datetime
    """When it was registered."""
    updated_at: datetime
    """When it last said something else: signing out moves only the version."""
    version: int
    """How many events it has: in quotes, what `If-Match` takes."""


FOLDS: Final = Folds(
    AccountCard,
    {
        AccountRegistered: Begins(
            id=Its("account_id"),
            email=Its("email"),
            email_verified=Is(False),
            username=Its("username"),
            roles=Its("roles"),
            active=Is(True),
            created_at=AT,
            updated_at=AT,
        ),
        AccountEmailVerified: Sets(updated_at=AT, email_verified=Is(True)),
        AccountUsernameChanged: Sets(updated_at=AT, username=Its("username")),
        AccountProfileChanged: Sets(updated_at=AT, full_name=Its("full_name"), bio=Its("bio")),
        AccountRolesChanged: Sets(updated_at=AT, roles=Its("roles")),
        AccountActivated: Sets(updated_at=AT, active=Is(True)),
        AccountDeactivated: Sets(updated_at=AT, active=Is(False)),
        AccountEmailVerificationRequested: Sets(),
        AccountPasswordChanged: Sets(),
        AccountPasswordResetRequested: Sets(),
        AccountSessionEnded: Sets(),
        AccountTokenReused: Sets(),
        AccountApiKeyRevoked: Sets(),
        # Nothing can happen to an account that was never registered: where there is no row, it has been erased, and
        # whatever is told of it after that has nothing to change and must not bring it back.
        AccountErased: Ends(),
    },
)

ACCOUNT_CARD: Final = Projection[AccountCard](
    name="account_card",
    version=2,
    row=AccountCard,
    creates=FOLDS.creates,
    handles=FOLDS.handles,
    key=ByStream(),
    project=FOLDS,
    read_back=True,
    columns=(
        Column("email", "text", lambda card: normal_form(card.email)),
        Column("username", "text", lambda card: normal_form(card.username)),
        Column("roles", "text[]", lambda card: [str(role) for role in card.roles]),
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

"""The principal: who a request turned out to come from."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks, and what they may do: in a session that began with a password, or with an API key.

    ``version`` is that of the account's stream when the token was issued, in that ``history`` of the log, or when the
    key was last looked at.
    """

    id: UUID
    scopes: frozenset[str]
    session_id: UUID | None = None
    version: int = 0
    history: UUID | None = None
    api_key_id: UUID | None = None

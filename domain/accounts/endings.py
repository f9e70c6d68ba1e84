"""Access that an account's events end: the tokens of its sessions, one session, one API key."""

from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from domain.accounts.messages import (
    AccountApiKeyRevoked,
    AccountDeactivated,
    AccountErased,
    AccountPasswordChanged,
    AccountRolesChanged,
    AccountSessionEnded,
    AccountTokenReused,
)
from domain.kernel.messages import Event

MOST_REMEMBERED: Final = 100
"""Sessions that an account's state names as ended; and as many API keys."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """What an account's tokens must be younger than, in versions of its stream.

    ``version`` counts for all but the session ``kept``, and ``kept_version`` for that one: it is what the events said
    that did not keep it.
    """

    version: int = 0
    kept: UUID | None = None
    kept_version: int = 0

    def then(self, other: "Revocation") -> "Revocation":
        """Both this and what another event of the account said; in whichever order they are heard of, and how often."""
        if other.version > self.version:
            return Revocation(other.version, other.kept, self.kept_version if other.kept == self.kept else self.version)
        if other.kept == self.kept or other.version <= self.kept_version:
            return self
        return Revocation(self.version, self.kept, other.version)

    def ends(self, session_id: UUID, version: int) -> bool:
        """Whether a token of the session, issued at that version of the stream, counts no more."""
        return version < (self.kept_version if session_id == self.kept else self.version)


Ending = Revocation | UUID
"""Of the tokens of an account, or of one session or API key."""


def ending(version: int, event: Event) -> Ending | None:
    """What the event, at that version of its account's stream, ends; None for most."""
    match event:
        case AccountSessionEnded(session_id=ended) | AccountTokenReused(session_id=ended):
            return ended
        case AccountApiKeyRevoked(key_id=ended):
            return ended
        case AccountPasswordChanged(kept_session=kept):
            return Revocation(version, kept)
        case AccountDeactivated() | AccountRolesChanged() | AccountErased():
            return Revocation(version)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Ended:
    """A session or an API key, and the version of the account's stream at which it ended."""

    version: int
    id: UUID


@dataclass(frozen=True, slots=True)
class Endings:
    """All that an account's events have ended, in bounded memory.

    ``cut`` is for tokens, and ``sessions`` for what began in a session and goes on without a newer token: that outlives
    a change of roles, which only wants newer tokens. ``last`` are the sessions that ended last. ``forgotten`` is the
    version up to which others ended that are not named any more: a token from before it is not trusted, and its owner
    gets a newer one for the asking. Of ``keys`` and ``keys_forgotten`` the same is true: however many sessions end, no
    key comes back to life by it.
    """

    cut: Revocation = Revocation()
    sessions: Revocation = Revocation()
    last: tuple[Ended, ...] = ()
    forgotten: int = 0
    keys: tuple[Ended, ...] = ()
    keys_forgotten: int = 0

    def then(self, version: int, event: Event) -> "Endings":
        """With what one more event ends."""
        match ending(version, event):
            case None:
                return self
            case Revocation() as cut:
                roles_alone = isinstance(event, AccountRolesChanged)
                sessions = self.sessions if roles_alone else self.sessions.then(cut)
                return replace(self, cut=self.cut.then(cut), sessions=sessions)
            case gone if isinstance(event, AccountApiKeyRevoked):
                keys, forgotten = _named((*self.keys, Ended(version, gone)), self.keys_forgotten)
                return replace(self, keys=keys, keys_forgotten=forgotten)
            case gone:
                last, forgotten = _named((*self.last, Ended(version, gone)), self.forgotten)
                return replace(self, last=last, forgotten=forgotten)

    def of_token(self, session_id: UUID, version: int) -> bool:
        """Whether a token of the session, issued at that version of the stream, counts no more."""
        return version < self.forgotten or self.cut.ends(session_id, version) or self.of(session_id)

    def of_session(self, session_id: UUID, version: int) -> bool:
        """Whether a session that was good at that version of the stream has ended since, or perhaps has."""
        return version < self.forgotten or self.sessions.ends(session_id, version) or self.of(session_id)

    def of_key(self, key_id: UUID, version: int) -> bool:
        """The same of an API key."""
        return version < self.keys_forgotten or self.of(key_id)

    def of(self, session_or_key: UUID) -> bool:
        """Whether the session or API key is one of those that ended last."""
        return any(ended.id == session_or_key for ended in (*self.last, *self.keys))


def _named(ended: tuple[Ended, ...], forgotten: int) -> tuple[tuple[Ended, ...], int]:
    """Those that are named still, and the version up to which others are not."""
    shed, kept = ended[:-MOST_REMEMBERED], ended[-MOST_REMEMBERED:]
    return kept, shed[-1].version if shed else forgotten

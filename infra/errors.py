"""Errors outside the rules, named for the client's sake; one table in ``api`` maps each to a problem."""

from collections.abc import Sequence
from typing import Final


class OutcomeUnknown(Exception):
    """The answer to a commit was lost: the command may or may not have been stored. Repeat it with the same key.

    Whoever catches it deletes nothing that would be needed if it was.
    """

    @classmethod
    def behind_a_commit(cls, fault: Exception) -> "OutcomeUnknown":
        """As whatever fails behind a commit is told, also a fault of our own: never as if nothing had been stored."""
        unknown = cls("it was stored, and then something failed")
        unknown.__cause__ = fault
        return unknown


class Unavailable(Exception):
    """A server that the request needs cannot be reached in time. Nothing was stored."""


class Rejected(Unavailable):
    """A server answers, and will not have us as we are set up: user, password, database, TLS. No wait mends that."""


AWAY: Final = (Unavailable, OutcomeUnknown)
"""A server did not answer, whatever became of what it was asked: for those who look again, or do the same again."""


class CannotUnwrap(Unavailable):
    """A secret of the server was wrapped under a key that this process does not have. It cannot work without it."""


class TookTooLong(Unavailable):
    """A statement that reads was ended, as its time was over."""


class TooLarge(Exception):
    """More bytes came than may be kept. None were."""


class TooBusy(Exception):
    """The stream is written to so hard that the command lost every race it was allowed. Nothing was stored."""


class VersionMismatch(Exception):
    """The stream is not at the version that ``If-Match`` names."""

    def __init__(self, expected: Sequence[int], actual: int) -> None:
        super().__init__(f"expected version {' or '.join(map(str, expected)) or 'of another kind'}, found {actual}")
        self.expected = expected
        self.actual = actual


class IdempotencyKeyReused(Exception):
    """The key was used before with another route or body."""


class IdempotencyKeyInFlight(Exception):
    """A command with this key is being carried out right now."""


class NotYetVisible(Exception):
    """The read model has not reached the write that the consistency token proves, within the allowed wait."""

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__("the write is not visible yet")
        self.retry_after = retry_after


class NotFound(Exception):
    """There is no such thing, or it is somebody else's."""


class UnknownSchema(Exception):
    """The database's schema is not the one that this release was built for. Where it is ``newer``, this release knows
    no way to its own."""

    def __init__(self, found: str | None, expected: str, *, newer: bool = False) -> None:
        super().__init__(
            f"the schema is at {found}, which a newer release has made; this one knows {expected}: {BACK}"
            if newer
            else f"schema is at {found or 'nothing'}, this release needs {expected}: run `weir migrate`"
        )
        self.found = found
        self.expected = expected
        self.newer = newer


BACK: Final = "run the newer release, or restore the backup from before its `weir migrate`"
"""What is to be done where a database is newer than the release."""


class NoEncryptionKey(Exception):
    """This process needs the server's secrets, and was not told what unwraps them."""

    def __init__(self) -> None:
        super().__init__(
            "WEIR_ENCRYPTION_KEYS is not set, and the server's secrets are kept encrypted: a new database takes what"
            " `openssl rand -base64 32` says, an older one needs the key that it was used with"
        )


class Fenced(Exception):
    """Another worker has taken over the lease; whatever this one was about to write was not written."""

    def __init__(self, consumer: str, shard: int) -> None:
        super().__init__(f"{consumer}/{shard} has a new owner")
        self.consumer = consumer
        self.shard = shard

"""What is said of a Postgres that cannot be connected to: which, and why, for whoever has to mend it; no password."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from infra.errors import Rejected, Unavailable
from infra.host import network_errors

POSTGRES_PORT: Final = 5432
MOST_TOLD: Final = 4

_REJECTIONS: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,  # and InvalidPasswordError: user, password, pg_hba.conf
    asyncpg.InvalidCatalogNameError,  # no such database
)


def unreachable(failures: Sequence[tuple[str, Exception]]) -> Unavailable:
    """All servers that were tried, by host and port, and what each failed with.

    :class:`~infra.errors.Rejected` where they answer, and none will ever do what these settings ask for.
    """
    rejected = bool(failures) and all(_rejects(error) for _, error in failures)
    if len(failures) == 1:
        ((at, error),) = failures
        text = f"Postgres at {at} {'refuses' if rejected else 'cannot be reached'}: {cause(error)}"
    else:
        text = "Postgres cannot be reached: " + "; ".join(f"{at}: {cause(why)}" for at, why in failures[:MOST_TOLD])
    return (Rejected if rejected else Unavailable)(text)


def place(host: str | None, port: int | None) -> str:
    """A server as people write it."""
    return network_errors.place(host, port or POSTGRES_PORT)


def cause(error: BaseException) -> str:
    """In words. What a server says itself names user and database, and never a password."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error).partition("\n")[0]
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "it takes no writes"
    # The driver has no type of its own for it, and says the same of an answer that it does not understand.
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return "it turns TLS down, which sslmode asks for, or is no Postgres"
    return network_errors.cause(error)


def _rejects(error: Exception) -> bool:
    return isinstance(error, _REJECTIONS) or network_errors.is_certificate(error)

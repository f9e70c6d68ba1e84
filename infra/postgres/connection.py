"""A connection in use: a failure on it is told for what it means, and a line that is of no more use is dropped."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Final, Literal

import asyncpg
from asyncpg.transaction import Transaction
from pydantic import SecretStr

from infra.errors import OutcomeUnknown, Unavailable
from infra.postgres.connect import CONNECT_SECONDS, Connection, Pooled, connect
from infra.postgres.errors import classify, told
from infra.postgres.standby import StandbyWait

DRIVER_ERRORS: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""All that the driver raises: for where a connection is given up, and it does not matter how that goes."""


@contextmanager
def answering(connection: "Connection | Pooled", *, writes: bool) -> Iterator[None]:
    """Tells a failure of the server for what it means, and drops a connection that is of no more use. Who writes
    insists on the standbys that have to have it."""
    try:
        with StandbyWait(connection) if writes else nullcontext():
            yield
    except Exception as error:
        instead = raised_for(connection, error, writes=writes)
        if instead is None:
            raise
        raise instead from error


def raised_for(
    connection: "Connection | Pooled", error: BaseException, *, writes: bool
) -> Unavailable | OutcomeUnknown | asyncio.CancelledError | None:
    """What is raised instead of an error: its meaning, or the cancellation behind which it came up."""
    meant = meaning(connection, error, writes=writes)
    return asyncio.CancelledError() if meant is not None and _is_cancelled(error) else meant


def meaning(
    connection: "Connection | Pooled", error: BaseException, *, writes: bool
) -> Unavailable | OutcomeUnknown | None:
    """What an error that came over a connection says of the server, and None where it says nothing of it.

    A connection that is of no more use is dropped.
    """
    failure = classify(error, lost=_is_lost(connection))
    if failure is None:
        return None
    if failure.drop_connection:
        drop(connection)
    return told(failure, error, writes=writes)


def _is_cancelled(error: BaseException) -> bool:
    """Whether this task is being cancelled, and the error came up behind that: a transaction was to be rolled back over
    a line that had broken meanwhile. Whoever took it for the server's would go on for ever.
    """
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return False  # a deadline that has passed is no cancellation any more
    behind = error.__context__
    return isinstance(error, asyncio.CancelledError) or (behind is not None and _is_cancelled(behind))


async def close(connection: Connection) -> None:
    """Closes a connection of one's own, in time."""
    try:
        await connection.close(timeout=CONNECT_SECONDS)
    except DRIVER_ERRORS:
        connection.terminate()


@asynccontextmanager
async def session_at(url: SecretStr, *, writes: bool) -> AsyncIterator[Connection]:
    """A connection of one's own until the end of the block, in which failures are told as by :func:`answering`.

    Raises :class:`~infra.errors.Unavailable` when no server takes it.
    """
    connection = await connect(url)
    try:
        with answering(connection, writes=writes):
            yield connection
    finally:
        await close(connection)


@asynccontextmanager
async def in_transaction(
    connection: Pooled, *, writes: bool, isolation: Literal["repeatable_read"] | None = None
) -> AsyncIterator[None]:
    """A transaction until the end of the block: committed there, rolled back where that fails."""
    transaction = connection.transaction(isolation=isolation)
    try:
        await transaction.start()
    except asyncio.CancelledError:
        drop(connection)  # it may have begun, and the driver would tell that as an error of ours
        raise
    try:
        yield
    except BaseException:
        await _roll_back(connection, transaction)
        raise
    # From here on the failure of the line says nothing about what is stored.
    with answering(connection, writes=writes):
        await transaction.commit()


async def _roll_back(connection: Pooled, transaction: Transaction) -> None:
    """Nothing is committed, whether or not this arrives. A server that has fallen silent keeps nobody for long."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await transaction.rollback()
    except DRIVER_ERRORS:
        drop(connection)


def drop_open(connection: Pooled) -> None:
    """Cuts it off where a transaction is open on it that is nobody's: whoever was to end it was cancelled again, while
    it waited for that. The driver would end it, and tell it as an error."""
    with suppress(asyncpg.InterfaceError):  # it is gone already
        if connection.is_in_transaction():
            connection.terminate()


def _is_lost(connection: "Connection | Pooled") -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken it back because its line broke
        return True


def drop(connection: "Connection | Pooled") -> None:
    """Cuts it off; the pool makes another one when it needs one."""
    with suppress(asyncpg.InterfaceError):  # it is gone already
        connection.terminate()

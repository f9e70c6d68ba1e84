"""All checks of a database and its files, one after the other, over one snapshot."""

from collections.abc import Callable
from typing import Final, TypeAlias

from pydantic import SecretStr

from domain.webhooks import WEBHOOKS
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.verification import (
    MOST_TOLD,
    Checked,
    verify_numbers,
    verify_read_model,
    verify_streams,
)
from infra.postgres import schema_version
from infra.postgres.connection import answering, close
from infra.postgres.pool import Connection, Database, connect
from infra.postgres.pool_config import PoolConfig
from infra.storage import Storage
from infra.storage.referenced_files import fault_of, referenced_files
from projections.registry import PROJECTIONS
from workers.upkeep.snapshots import DECIDERS as SNAPSHOT_DECIDERS

Told: TypeAlias = Callable[[Checked], None]
"""Hears of each check when it is done."""

FILES: Final = "files"
DECIDERS: Final = (*SNAPSHOT_DECIDERS, WEBHOOKS)


async def verified(url: SecretStr, storage: Storage | None, told: Told) -> bool:
    """Whether all is well with a database of this release. Without a storage files are not looked at.

    Raises :class:`~infra.errors.Unavailable`.
    """
    connection = await connect(url)
    try:
        with answering(connection, writes=False):
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await _verified(connection, storage, told)
    finally:
        await close(connection)


async def insist_on_schema(url: SecretStr) -> None:
    """Raises :class:`~infra.errors.UnknownSchema` unless the database is at this release's revision."""
    database = Database(PoolConfig(url=url, size=1))
    try:
        await schema_version.check(database)
    finally:
        await database.close()


async def _verified(connection: Connection, storage: Storage | None, told: Told) -> bool:
    well = True

    def tell(*checks: Checked) -> None:
        nonlocal well
        for check in checks:
            well &= check.well
            told(check)

    log = await identify(connection, CODEC)
    tell(*await verify_numbers(connection))
    tell(*await verify_streams(connection, CODEC, DECIDERS))
    for projection in PROJECTIONS.values():
        tell(await verify_read_model(connection, log, projection))
    if storage is not None:
        tell(await _files(connection, storage))
    return well


async def _files(connection: Connection, storage: Storage) -> Checked:
    seen, faults = 0, list[str]()
    async for page in referenced_files(connection):
        for file in page:
            seen += 1
            if fault := await fault_of(storage, file):
                faults.append(fault)
    return Checked(name=FILES, looked_at=seen, faults=faults[:MOST_TOLD])

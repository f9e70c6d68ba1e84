"""A PostgreSQL, a Valkey and a mail server that nothing is wrong with, to be spoiled one thing at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from redis.asyncio import Redis

from cli.doctor.checks import CHECKS, examine
from cli.doctor.finding import Examined
from cli.doctor.patient import Patient
from infra.embedded import Postgres, Valkey
from infra.eventsourcing.projections.generations import install
from infra.postgres.schema_version import migrate
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.conftest import SHARDS
from tests.support.pgbouncer import PgBouncer, needs_pgbouncer
from tests.support.smtp_stub import smtp_stub
from tests.support.write_side import connected

SPARE: Final = {"max_connections": "20", "max_prepared_transactions": "2", "wal_level": "replica"}


@dataclass(frozen=True, kw_only=True)
class Ward:
    """What is well, and ``settings`` that lead to it as on a server."""

    postgres: Postgres
    valkey: Valkey
    settings: Settings

    async def does(self, *statements: str) -> Any:
        """What the last of them answers, of the database's owner."""
        return await self._do(self.postgres.url, statements)

    async def does_as_admin(self, *statements: str) -> Any:
        return await self._do(f"{self.postgres.admin_url.rpartition('/')[0]}/weir", statements)

    async def configures(self, **settings: str) -> None:
        """Sets what Valkey is set up with."""
        async with Redis.from_url(self.valkey.url) as client:
            for name, value in settings.items():
                await client.config_set(name.replace("_", "-"), value)

    async def _do(self, url: str, statements: tuple[str, ...]) -> Any:
        async with connected(url) as connection:
            for statement in statements:
                answer = await connection.fetchval(statement)
        return answer

    def patient(self, **changes: Any) -> Patient:
        """Somebody with these settings, but for some."""
        return Patient(settings=self.settings.model_copy(update=changes))


@asynccontextmanager
async def ward(folder: Path) -> AsyncIterator[Ward]:
    """Opened until the end of the block."""
    postgres, valkey = Postgres(folder, settings=SPARE), Valkey(folder)
    async with (
        postgres.running() as url,
        valkey.running() as redis_url,
        smtp_stub() as stub,
        _answering() as provider_url,
    ):
        await migrate(SecretStr(url), shards=SHARDS)
        async with connected(url) as connection:
            await install(connection, PROJECTIONS)
        settings = Settings.model_validate(
            {
                "environment": "production",
                "database_url": url,
                "redis_url": redis_url,
                "smtp_url": stub.url,
                "data_dir": folder / "data",
                "payment_provider_url": provider_url,
            }
        )
        yield Ward(postgres=postgres, valkey=valkey, settings=settings)


@asynccontextmanager
async def _answering() -> AsyncIterator[str]:
    """Somebody who knows of no page."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def of(name: str, patient: Patient) -> Examined:
    """What one check has found."""
    (examined,) = await examine(patient, [check for check in CHECKS if check.name == name])
    return examined


@asynccontextmanager
async def transaction_pooler(folder: Path, url: str) -> AsyncIterator[str]:
    """The database by way of a PgBouncer."""
    needs_pgbouncer()
    pooler = PgBouncer(folder / "pooler", url)
    await pooler.start()
    try:
        yield pooler.url
    finally:
        await pooler.stop()

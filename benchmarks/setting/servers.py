"""The servers that both sides share: PostgreSQL and Valkey from the wheels, set up as the product does; or given."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.options import Options
from infra.embedded import Postgres, Valkey


@dataclass(frozen=True, kw_only=True)
class Servers:
    """The addresses of one PostgreSQL, fsync on, and one Valkey. ``admin`` may order checkpoints and end sessions."""

    database: str
    admin: str
    redis: str


@asynccontextmanager
async def servers(options: Options, directory: Path) -> AsyncIterator[Servers]:
    """Started on entry, stopped and forgotten on exit, unless the options name servers that run already."""
    if options.database and options.redis:
        yield Servers(database=options.database, admin=options.database, redis=options.redis)
        return
    postgres, valkey = Postgres(directory), Valkey(directory)
    try:
        await asyncio.gather(postgres.start(), valkey.start())
        yield Servers(database=postgres.url, admin=postgres.admin_url, redis=valkey.url)
    finally:
        await asyncio.gather(postgres.stop(), valkey.stop())
        shutil.rmtree(directory, ignore_errors=True)

"""A file of products through Weir's importer, from its first turn to its end: one worker process, as jobs run it."""

import asyncio
import csv
import io
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID, uuid4

import uvloop
from prometheus_client import CollectorRegistry

from benchmarks.figures import Figures
from benchmarks.load import workload
from benchmarks.ours.settings import settings_of
from benchmarks.task import Task, received
from domain.accounts import ACCOUNTS, RegisterAccount, Role
from infra import imports
from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.startup import open_log
from infra.imports import NewImport, file_of
from infra.postgres.pool import Database
from infra.storage import Storage, open_storage
from infra.write_side import open_bulk_write_side
from workers.imports.batch_run import ImportMetrics
from workers.imports.importer import Importer
from workers.imports.row_parser import COLUMNS

ROWS_PER_SECOND = 5_000
"""A lap of four seconds is a file of 20,000 rows, however long that takes."""


async def _run(task: Task, folder: str) -> Figures:
    settings = settings_of(task).model_copy(update={"data_dir": Path(folder)})
    rows = int(task.seconds * ROWS_PER_SECOND)
    async with AsyncExitStack() as stack:
        database, storage = Database(pool_of(settings)), open_storage(settings)
        stack.push_async_callback(database.close)
        commands = open_bulk_write_side(stack, settings, database, await open_log(database, CODEC))
        importer = Importer(database, storage, commands, ImportMetrics(CollectorRegistry()))
        owner = await _owner(commands)
        import_id = await _uploaded(database, storage, owner, _file(rows))
        started, cpu = time.perf_counter(), time.process_time()
        while (seen := await imports.see(database, import_id)) and seen.state in ("waiting", "running"):
            for mine in await importer.claim(1):
                await importer.run(mine, 0.0)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    if seen is None or seen.done != rows:
        raise RuntimeError(f"{rows} rows came to {seen}")
    return Figures(rate=rows / seconds, count=rows, seconds=seconds, client_us=cpu / rows * 1e6)


async def _owner(commands: CommandHandler) -> UUID:
    """An account that may change the catalogue, which is looked at before each chunk."""
    account_id = uuid4()
    name, target = f"u{account_id.hex}", (ACCOUNTS, account_id)
    command = RegisterAccount(account_id=account_id, email=f"{name}@bench.example", username=name, roles=(Role.STAFF,))
    await commands.handle(target, command, CommandContext("bench"))
    return account_id


async def _uploaded(database: Database, storage: Storage, owner: UUID, content: bytes) -> UUID:
    async def whole() -> AsyncIterator[bytes]:
        yield content

    new, context = NewImport(uuid4(), owner, "csv", workload.metadata()["correlation"]), CommandContext(str(owner))
    await imports.begin(database, new, context)
    await storage.put(file_of(new.import_id, "csv"), whole(), content_type="text/csv")
    return await imports.uploaded(database, new, context)


def _file(rows: int) -> bytes:
    """Products that no other lap has."""
    lap, written = uuid4().hex, io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerow(COLUMNS)
    writer.writerows(
        (f"{lap}-{number}", workload.NAME, "Holds tea.", "19.90", "EUR", "0.19", "kitchen", "blue|mug", "50")
        for number in range(rows)
    )
    return written.getvalue().encode()


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_run(received(), folder)).tell()

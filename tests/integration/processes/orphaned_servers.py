"""Starts both servers, stores a row, says their pids, and waits to be killed: ``... DIRECTORY``."""

import asyncio
import sys
from pathlib import Path

from infra.embedded import Postgres, Valkey
from tests.integration.processes.test_embedded import keep


async def main(directory: Path) -> None:
    postgres, valkey = Postgres(directory, durable=False), Valkey(directory)
    async with postgres.running() as url, valkey.running():
        await keep(url, 1)
        sys.stdout.write(f"{postgres.process.pid} {valkey.process.pid}\n")
        sys.stdout.flush()
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

"""``weir up`` with stand-ins for its programs: ``python -m tests.faults.stand_ins DIRECTORY PORT [BEHAVIOUR...]``."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cli.supervisor import Backoff, Console, Options, Program, Stage, Wiring
from cli.supervisor.credentials import ENCRYPTION_KEYS, PROVIDER_KEY
from cli.supervisor.programs import worker_names
from cli.up import run

Table = Callable[[Wiring], Sequence[Program]]
QUICK = Backoff(first=0.05, most=0.4, calm=60)


def stand_in(name: str, port: int, *behaviours: str, stage: Stage = Stage.MAIN) -> Program:
    """A program of the table that behaves so."""
    return Program(
        name=name,
        argv=(sys.executable, "-m", "tests.faults.stand_in", str(port), *behaviours),
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        ready_url=f"http://127.0.0.1:{port}/health/ready",
        stage=stage,
    )


def an_api(*behaviours: str) -> Table:
    """A table of one, on the API's port."""
    return lambda wiring: [stand_in("api", wiring.api_port, *behaviours)]


def options(directory: Path, *behaviours: str, port: int = 0) -> Options:
    """A stack of the servers and one stand-in."""
    return Options(
        directory=directory, port=port, programs=an_api(*behaviours), durable=False, backoff=QUICK, drain_seconds=2.0
    )


def wiring_of(directory: Path) -> Wiring:
    """Of a stack that nobody starts."""
    return Wiring(
        directory=directory,
        database_url="",
        redis_url="",
        host="127.0.0.1",
        api_port=1,
        smtp_port=2,
        mailbox_port=3,
        provider_port=4,
        worker_ports={name: number for number, name in enumerate(worker_names(2), start=5)},
        drain_seconds=5.0,
        mark="",
        secrets={PROVIDER_KEY: "sesame", ENCRYPTION_KEYS: "hush"},
    )


if __name__ == "__main__":
    folder, number, *how = sys.argv[1:]
    sys.exit(asyncio.run(run(options(Path(folder), *how, port=int(number)), Console())))

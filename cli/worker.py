"""`weir worker`: the background processes, each kind on its own or all in one."""

from enum import StrEnum
from typing import Annotated

import typer


class WorkerKind(StrEnum):
    """What a worker process hosts."""

    RELAY = "relay"
    PROJECTIONS = "projections"
    TASKS = "tasks"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Add ``weir worker``."""
    app.command("worker", help="Run background workers: relay, projections, tasks, or all.")(worker)


def worker(kind: Annotated[WorkerKind, typer.Argument(help="What this process is to do.")]) -> None:
    """Works until SIGTERM or SIGINT, drains, and exits with 0; exits with 1 when any part of it fails."""
    from workers.main import KINDS, main

    raise typer.Exit(main([known for known in KINDS if kind in (known, WorkerKind.ALL)]))

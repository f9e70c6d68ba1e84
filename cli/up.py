"""``weir up``: every process of Weir on this machine, until Ctrl-C."""

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.supervisor import Console, Level, Options, Report, Stack
from cli.target.data_dir import DATA_DIR, as_set
from infra.embedded import StartFailed
from infra.settings import Settings
from infra.settings.urls import address_of

_HELP = "Start everything on this machine, until Ctrl-C."
Port = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        callback=as_set,
        help="the API's port, from which the others are counted; 0 takes free ones; else WEIR_PORT, else those of the "
        "last start, at first from 8000 on",
    ),
]


def register(app: typer.Typer) -> None:
    """Add ``weir up``."""
    app.command("up", help=_HELP)(up)


def up(
    port: Port = None,
    data_dir: Annotated[
        Path, typer.Option(callback=as_set, help="where everything is kept; else WEIR_DATA_DIR")
    ] = DATA_DIR,
    workers: Annotated[int, typer.Option(min=1, max=16, help="processes of each kind of worker")] = 1,
    reload: Annotated[bool, typer.Option("--reload", help="start anew what a change of the code touches")] = False,
) -> None:
    """Uses the servers of ``DATABASE_URL`` and ``REDIS_URL``, where they are set, instead of its own."""
    settings = Settings()
    named = settings.model_fields_set
    options = Options(
        directory=data_dir,
        host=settings.host,
        port=port,
        database_url=settings.database_url.get_secret_value() if "database_url" in named else None,
        redis_url=settings.redis_url.get_secret_value() if "redis_url" in named else None,
        workers=workers,
        drain_seconds=settings.drain_seconds,
        reload=reload,
    )
    raise typer.Exit(asyncio.run(run(options, Console())))


async def run(options: Options, console: Console) -> int:
    """Run a stack until it is told to stop. Returns the exit code."""
    return await until_stopped(_keep(options, console), console.report)


async def until_stopped(work: Coroutine[Any, Any, int], report: Report) -> int:
    """Do the work until it ends or SIGINT, SIGTERM or SIGHUP comes. Returns the exit code: 1 if it failed."""
    running = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for sign in _stopping_signals():
        loop.add_signal_handler(sign, _stop, running, report)
    try:
        return await running
    except asyncio.CancelledError:
        report("weir", "stopped", Level.INFO)
        return 0
    except (StartFailed, OSError) as failure:
        report("weir", str(failure), Level.ERROR)
    return 1


async def _keep(options: Options, console: Console) -> int:
    console.report("weir", f"starting in {options.directory.absolute()}", Level.INFO)
    async with Stack(options, console.report) as stack:
        console.links(await places(stack))
        await stack.watch()
    return 1


async def places(stack: Stack) -> dict[str, str]:
    """Where a human looks."""
    from cli.supervisor.admin import admin_of  # once all is up: what it takes to load would keep everything waiting

    wiring = stack.wiring
    return {
        "API": stack.api_url,
        "docs": f"{stack.api_url}/docs",
        "guide": f"{stack.api_url}/docs/guide",
        "live": f"{stack.api_url}/live",
        "admin": await admin_of(wiring),
        "mailbox": f"{wiring.mailbox_url}, by SMTP at 127.0.0.1:{wiring.smtp_port}",
        "refunds": wiring.provider_url,
        "Postgres": f"{address_of(wiring.database_url)}: `weir psql`, `weir env`",
        "Redis": address_of(wiring.redis_url),
        "metrics": f"{stack.api_url}/metrics",
        **{f"  {name}": f"http://127.0.0.1:{port}/metrics" for name, port in wiring.worker_ports.items()},
        "logs": str(wiring.directory / "log"),
    }


def _stopping_signals() -> list[signal.Signals]:
    """SIGHUP among them, unless ``nohup`` has asked to live on without a terminal."""
    detached = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if detached else [signal.SIGHUP])]


def _stop(running: asyncio.Task[int], report: Report) -> None:
    """Once: a second Ctrl-C must not cut short the ordered stop, which is bounded."""
    if not running.cancelling():
        report("weir", "stopping", Level.INFO)
        running.cancel()

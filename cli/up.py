"""``weir up``: every process of Weir on this machine, until Ctrl-C."""

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.supervisor import Console, Level, Options, Report, Stack
from infra.embedded import StartFailed
from infra.settings import Settings

_HELP = "Start everything on this machine, until Ctrl-C."


def register(app: typer.Typer) -> None:
    """Add ``weir up``."""
    app.command("up", help=_HELP)(up)


def up(
    port: Annotated[int, typer.Option(min=0, max=65535, help="the API's port; 0 takes a free one")] = 8000,
    data_dir: Annotated[Path, typer.Option(help="where everything is kept")] = Path(".weir"),
    workers: Annotated[int, typer.Option(min=1, max=16, help="processes of each kind of worker")] = 1,
) -> None:
    settings = Settings()
    options = Options(
        directory=data_dir,
        host=settings.host,
        port=port,
        workers=workers,
        drain_seconds=settings.drain_seconds,
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
        console.links(places(stack))
        await stack.watch()
    return 1


def places(stack: Stack) -> dict[str, str]:
    """Where a human looks."""
    return {
        "API": stack.api_url,
        "docs": f"{stack.api_url}/docs",
        "metrics": f"{stack.api_url}/metrics",
        "mailbox": stack.wiring.mailbox_url,
        "refunds": stack.wiring.provider_url,
        "admin": f"{stack.environment['WEIR_ADMIN_EMAIL']}, password in {stack.wiring.directory / 'secrets.json'}",
        "logs": str(stack.wiring.directory / "log"),
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

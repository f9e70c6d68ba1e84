"""``weir up``: every process of Weir on this machine, until Ctrl-C."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from cli.supervisor import Console, Level, Options, Report, Stack
from infra.embedded import StartFailed
from infra.settings import Settings

_HELP = "Start everything on this machine, until Ctrl-C."
_GRACE = 5.0
"""Seconds that a child may take beyond its own bounded drain."""


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
        drain_seconds=settings.drain_seconds + _GRACE,
    )
    raise typer.Exit(asyncio.run(run(options, Console())))


async def run(options: Options, console: Console) -> int:
    """Run a stack until SIGINT, SIGTERM or SIGHUP. Returns the exit code: 1 if it did not start or stay."""
    running = asyncio.create_task(_keep(options, console))
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(sign, _stop, running, console.report)
    try:
        await running
    except asyncio.CancelledError:
        console.report("weir", "stopped", Level.INFO)
        return 0
    except (StartFailed, OSError) as failure:
        console.report("weir", str(failure), Level.ERROR)
    return 1


async def _keep(options: Options, console: Console) -> None:
    console.report("weir", f"starting in {options.directory.absolute()}", Level.INFO)
    async with Stack(options, console.report) as stack:
        console.links(places(stack))
        await stack.watch()


def places(stack: Stack) -> dict[str, str]:
    """Where a human looks."""
    return {
        "API": stack.api_url,
        "docs": f"{stack.api_url}/docs",
        "metrics": f"{stack.api_url}/metrics",
        "mailbox": stack.wiring.mailbox_url,
        "admin": f"{stack.environment['WEIR_ADMIN_EMAIL']}, password in {stack.wiring.directory / 'secrets.json'}",
        "logs": str(stack.wiring.directory / "log"),
    }


def _stop(running: asyncio.Task[None], report: Report) -> None:
    """Once: a second Ctrl-C must not cut short the ordered stop, which is bounded."""
    if not running.cancelling():
        report("weir", "stopping", Level.INFO)
        running.cancel()

"""``weir demo``: everything started, the main job done before your eyes, and the verdict."""

import asyncio
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cli.demo.view import showing
from cli.demo.visit import Failed, Shop, seen
from cli.supervisor import Console, Level, Options, Stack
from cli.up import Port, places, until_stopped
from infra.settings import Settings

_VERDICT = "PASS: three orders, the money back where it belongs, the revenue right to the cent; and as it happened: "
_HELP = "Start everything and run the main job before your eyes."


def register(app: typer.Typer) -> None:
    """Add ``weir demo``."""
    app.command("demo", help=_HELP)(demo)


def demo(
    once: Annotated[bool, typer.Option(help="end after the journey, with its verdict as exit code")] = False,
    port: Port = None,
    data_dir: Annotated[Path, typer.Option(help="where everything is kept")] = Path(".weir/demo"),
) -> None:
    settings = Settings()
    if find_spec("weir_client") is None:
        typer.echo("the client by which the demo asks the shop is not installed: run `make install`", err=True)
        raise typer.Exit(1)
    options = Options(directory=data_dir, host=settings.host, port=port)
    raise typer.Exit(asyncio.run(until_stopped(_run(options, Console(), once=once), Console().report)))


async def _run(options: Options, console: Console, *, once: bool) -> int:
    console.report("weir", f"starting in {options.directory.absolute()}", Level.INFO)
    async with Stack(options, console.report) as stack:
        passed = await _travel(shop_of(stack), console)
        console.links(await places(stack))
        if not once:
            console.report("weir", "serving until Ctrl-C", Level.INFO)
            await stack.watch()
    return 0 if passed else 1


async def _travel(shop: Shop, console: Console) -> bool:
    from cli.demo.calls import Clients  # needs the generated client
    from cli.demo.journey import Journey

    titles: Counter[str] = Counter()
    try:
        async with Clients(shop.api_url) as clients:
            with showing() as show:
                async for step in Journey(shop, clients).steps():
                    show(step)
                    titles[step.title] += 1
        told = seen(titles)
    except Failed as failure:
        console.report("demo", f"FAIL: {failure}", Level.ERROR)
        return False
    console.report("demo", _VERDICT + told, Level.INFO)
    return True


def shop_of(stack: Stack) -> Shop:
    """The running shop, as the journey sees it."""
    return Shop(
        api_url=stack.api_url,
        mail_dir=stack.mail_dir,
        admin_email=stack.environment["WEIR_ADMIN_EMAIL"],
        admin_password=stack.environment["WEIR_ADMIN_PASSWORD"],
        webhook_secret=stack.environment["WEIR_PAYMENT_WEBHOOK_SECRET"],
    )

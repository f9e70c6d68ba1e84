"""``weir mail link``: the link that a mail in the local mailbox carries, for the command line."""

import asyncio
from typing import Annotated, Final

import typer

from cli.operations.typed_id import typed_id
from cli.target.data_dir import DATA_DIR, DataDir

WAIT_SECONDS: Final = 60.0
"""A mail stands back for everything else: on a busy machine it takes its time."""
SILENT_SECONDS: Final = 2.0
"""A wait that is longer is told."""

Address = Annotated[str, typer.Argument(callback=typed_id, help="The address that the mail went to.")]


def link(address: Address, data_dir: DataDir = DATA_DIR) -> None:
    """Print the link of the newest mail to an address, from the mailbox of `weir up`; wait a minute for it."""
    from cli.demo.visit import Failed, Mailbox
    from cli.target.servers import stack_in

    stack_in(data_dir)  # or nobody brings the mail that is waited for
    mailbox = Mailbox(data_dir / "mail", address)

    async def newest() -> str:
        try:
            return await mailbox.newest_link(SILENT_SECONDS)
        except Failed:
            typer.echo(f"no mail with a link has come for {address} yet: waiting for it, a minute at most", err=True)
        return await mailbox.newest_link(WAIT_SECONDS)

    try:
        typer.echo(asyncio.run(newest()))
    except Failed as error:
        typer.echo(f"{error}; `weir mail list` says what is owed, and why", err=True)
        raise typer.Exit(1) from None

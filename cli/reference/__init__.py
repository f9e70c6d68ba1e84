"""``weir reference``: the pages of docs/ that are made from the code, so that they say what it does."""

import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Final

import typer

from cli.reference import events, metrics, problems

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "events": events.page,
    "metrics": metrics.page,
    "problems": problems.page,
}

Name = Annotated[str, typer.Argument(help=f"Of: {', '.join(PAGES)}.")]


def register(app: typer.Typer) -> None:
    """Add ``weir reference``."""
    app.command("reference", help="Print a page of the reference: of events, metrics or problem codes.")(reference)


def reference(name: Name) -> None:
    """The same text each time, so that the file in docs/ can be compared with it."""
    if name not in PAGES:
        raise typer.BadParameter(f"there is no page of {name}; there are: {', '.join(PAGES)}")
    sys.stdout.write(PAGES[name]())

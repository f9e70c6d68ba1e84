"""``weir settings``: those in effect, and what is made of their class: the reference page and ``.env.example``."""

import sys
from typing import Annotated

import typer

from cli.tables import show
from infra.settings import Settings
from infra.settings.reference import entries, example, markdown, shown

_HELP = "Show the settings in effect, or all there are."

Markdown = Annotated[bool, typer.Option("--markdown", help="The reference page, docs/settings.md.")]
Example = Annotated[bool, typer.Option("--example", help="A file to begin with, .env.example.")]


def register(app: typer.Typer) -> None:
    """Add ``weir settings``."""
    app.command("settings", help=_HELP)(settings)


def settings(as_page: Markdown = False, as_example: Example = False) -> None:
    """Show what a process that is started here would be told, without secrets; or all settings, with their bounds."""
    if as_page or as_example:
        sys.stdout.write(markdown() if as_page else example())
        return
    told = Settings()
    rows = [
        (entry.name, shown(told, entry.field), "given" if entry.field in told.model_fields_set else "default")
        for section in entries().values()
        for entry in section
    ]
    show(("setting", "value", ""), rows, "")

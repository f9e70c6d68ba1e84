"""``weir mail``: the shop's mails, as their readers will see them."""

from pathlib import Path
from typing import Annotated

import typer

from cli.mail.newest_link import link
from cli.mail.outbox import list_mails, retry
from cli.operations.typed_id import AS_TYPED
from infra.locales import LANGUAGES
from workers.mail.kinds import KINDS

Kind = Annotated[str, typer.Argument(help=f"One of: {', '.join(KINDS)}. All are listed if none is given.")]
Lang = Annotated[str, typer.Option("--lang", help=f"One of: {', '.join(LANGUAGES)}; if not given, the shop's own.")]
Html = Annotated[bool, typer.Option("--html/--text", help="Which of the two that a mail holds.")]
Out = Annotated[Path | None, typer.Option("--out", help="A file (.eml: the whole mail); with --all a folder.")]
Open = Annotated[bool, typer.Option("--open", help="Show the HTML in a browser.")]
All = Annotated[bool, typer.Option("--all", help="Every kind in every language, as .eml, .html and .txt.")]


def register(app: typer.Typer) -> None:
    """Add ``weir mail``."""
    group = typer.Typer(no_args_is_help=True, help="See mails as their readers will, or those that are owed.")
    group.command("preview")(preview)
    group.command("list")(list_mails)
    group.command("retry")(retry)
    group.command("link", context_settings=AS_TYPED)(link)
    app.add_typer(group, name="mail")


def preview(
    kind: Kind = "",
    language: Lang = "",
    html: Html = False,
    out: Out = None,
    show: Open = False,
    every: All = False,
) -> None:
    """Show a mail, made up of sample data: its text, or its HTML; or list all there are."""
    from cli.mail import previews
    from infra.settings import Settings

    settings = Settings()
    if every:
        previews.write_all(settings, out)
    elif not kind:
        previews.list_all(settings)
    else:
        mail = previews.previewed(settings, kind, language or settings.mail_language)
        previews.show_one(mail, html=html, out=out, show=show)

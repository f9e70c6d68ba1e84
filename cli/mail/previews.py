"""Mails of sample data, as their readers will see them."""

from collections.abc import Iterator
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from tempfile import mkdtemp

import typer
from rich.console import Console
from rich.table import Table

from infra.identity.one_time_links import lives_of
from infra.locales import LANGUAGES
from infra.mail.mailer import Envelope
from infra.settings import Settings
from workers.mail.kinds import KINDS
from workers.mail.message import build_message
from workers.mail.samples import samples


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A mail as it would be sent."""

    kind: str
    language: str
    envelope: Envelope

    @property
    def message(self) -> EmailMessage:
        """As a mail reader takes it apart."""
        return BytesParser(EmailMessage, policy=policy.default).parsebytes(self.envelope.message)

    def part(self, form: str) -> str:
        """``plain`` or ``html``."""
        body = self.message.get_body((form,))
        return "" if body is None else str(body.get_content()).replace("\r\n", "\n")

    def form(self, suffix: str) -> bytes:
        """What a file of that suffix holds."""
        if suffix == ".eml":
            return self.envelope.message
        return self.part("html" if suffix == ".html" else "plain").encode()


def previews(settings: Settings) -> Iterator[Preview]:
    """Every kind in every language."""
    for kind in KINDS:
        for language in LANGUAGES:
            yield previewed(settings, kind, language)


def previewed(settings: Settings, kind: str, language: str) -> Preview:
    if kind not in KINDS:
        raise typer.BadParameter(f"no mail is called {kind}; there are: {', '.join(KINDS)}")
    if language not in LANGUAGES:
        raise typer.BadParameter(f"no mail is written in {language}; there are: {', '.join(LANGUAGES)}")
    mail = samples(settings.pages_url, lives_of(settings), language)[kind]
    return Preview(kind=kind, language=language, envelope=build_message(mail, settings.mail_from))


def show_one(mail: Preview, *, html: bool, out: Path | None, show: bool) -> None:
    if out is None and show:
        out = Path(mkdtemp(prefix="weir-mail-")) / f"{mail.kind}.html"
    if out is not None:
        suffix = out.suffix if out.suffix in (".eml", ".html") else ".html" if html else ".txt"
        _write(out, mail.form(suffix))
    elif html:
        typer.echo(mail.part("html"), nl=False)
    else:
        for name in ("From", "To", "Subject", "Content-Language"):
            typer.echo(f"{name}: {mail.message[name]}")
        typer.echo(f"\n{mail.part('plain')}", nl=False)
    if show and out is not None:
        typer.launch(out.resolve().as_uri())


def list_all(settings: Settings) -> None:
    console = Console()
    mails = [(mail.kind, mail.language, str(mail.message["Subject"])) for mail in previews(settings)]
    if not console.is_terminal:
        for row in mails:
            typer.echo("\t".join(row))
        return
    table = Table("kind", "language", "subject")
    for row in mails:
        table.add_row(*row)
    console.print(table)


def write_all(settings: Settings, out: Path | None) -> None:
    if out is None:
        raise typer.BadParameter("--all needs --out, the folder to write to")
    for mail in previews(settings):
        for suffix in (".eml", ".html", ".txt"):
            _write(out / f"{mail.kind}.{mail.language}{suffix}", mail.form(suffix))


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        typer.echo(f"{path} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    typer.echo(str(path))

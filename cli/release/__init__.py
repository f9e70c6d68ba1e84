"""``weir release``: what a release changes for clients, and the documents that the next one is compared with."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.release import changelog, channels, kept, operations
from cli.release.change import Change, Weight

DOCS: Final = Path("docs")

Docs = Annotated[Path, typer.Option(help="The folder with the documents, the changelog and the former releases.")]


def register(app: typer.Typer) -> None:
    """Add ``weir release``."""
    group = typer.Typer(no_args_is_help=True)
    group.command("check", help="Name what clients of the last release would not bear.")(check)
    group.command("keep", help="Keep the documents as those of the newest version in the changelog.")(keep)
    app.add_typer(group, name="release", help="Compare the API's documents with the last release's, or keep them.")


def check(docs: Docs = DOCS) -> None:
    """Ends with 1 for a breaking change that the changelog does not name under a version that may break."""
    newest, last = _newest(docs), kept.releases(docs)[-1]
    changes = sorted(set(changes_since(docs, last)), key=lambda change: (-change.weight, change.place, change.what))
    for change in changes:
        if change.weight is not Weight.COMPATIBLE:
            typer.echo(f"{change.weight.name.lower():<8}  {change.place}: {change.what}")
    numbers = Counter(change.weight for change in changes)
    counted = ", ".join(f"{numbers[weight]} {weight.name.lower()}" for weight in reversed(Weight))
    typer.echo(f"since {changelog.written(last)}: {counted}")
    named = newest.broken if changelog.may_break(newest.version, last) else frozenset()
    if unnamed := {change.place for change in changes if change.weight is Weight.BREAKING} - named:
        raise _failed(_what_to_do(unnamed, last))


def changes_since(docs: Path, last: changelog.Version) -> Iterator[Change]:
    """Of both documents."""
    before, after = kept.released(docs, last), kept.current(docs)
    yield from operations.compared(before["openapi"], after["openapi"])
    yield from channels.compared(before["asyncapi"], after["asyncapi"])


def keep(docs: Docs = DOCS) -> None:
    """Refuses a version without a date, one that the API does not call itself, and one that has been kept."""
    newest = _newest(docs)
    told, version = kept.current(docs)["openapi"]["info"]["version"], changelog.written(newest.version)
    if told != version or not newest.is_dated:
        raise _failed(f"the changelog begins with {version} ({newest.note}), and the API calls itself {told}")
    try:
        folder = kept.keep(docs, newest.version)
    except FileExistsError:
        raise _failed(f"{version} has been released: its documents stay as they were") from None
    typer.echo(f"kept in {folder}")


def _newest(docs: Path) -> changelog.Entry:
    return changelog.entries((docs / "changelog.md").read_text(encoding="utf-8"))[0]


def _what_to_do(unnamed: set[str], last: changelog.Version) -> str:
    major, minor, _ = last
    following = changelog.written((major + 1, 0, 0) if major else (0, minor + 1, 0))
    lines = [f"- `{place}`: …" for place in sorted(unnamed)]
    told = f"take this back, or have docs/changelog.md begin with {following} and say there what clients are to do:"
    return "\n".join([told, "### Breaking", *lines])


def _failed(reason: str) -> typer.Exit:
    typer.echo(reason, err=True)
    return typer.Exit(1)

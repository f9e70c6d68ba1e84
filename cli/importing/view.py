"""How an import is shown: bars at a terminal, a line now and then elsewhere, and at the end what was done."""

from collections.abc import Mapping
from time import monotonic
from typing import Any, Final, Self
from uuid import UUID

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cli.importing.remote import Sent

MOST_LINES: Final = 20
LINE_SECONDS: Final = 5.0


class View:
    """Shows an import from its upload on. ``import_id`` is known once the file is there."""

    def __init__(self, console: Console, import_id: UUID | None) -> None:
        self.console = console
        self.import_id = import_id
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._rows: TaskID | None = None
        self._told_at = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def uploading(self, size: int) -> Sent:
        """A function that moves the bar of the upload."""
        task = self._bars.add_task("upload, KiB", total=size // 1024, note="")
        return lambda sent: self._bars.update(task, completed=sent // 1024)

    def sent(self, import_id: UUID) -> None:
        """The file is there."""
        self.import_id = import_id
        self._line(f"sent; the import is {import_id}")

    def waiting(self, why: str) -> None:
        """The shop is away, and may come back."""
        self.console.print(why, style="yellow", soft_wrap=True, markup=False)

    def show(self, seen: Mapping[str, Any]) -> None:
        """How far it is."""
        over = seen["done"] + seen["failed"] + seen["skipped"]
        note = f"{seen['failed']} refused" if seen["failed"] else ""
        if self._rows is None:
            self._rows = self._bars.add_task("rows", total=None, note="")
        self._bars.update(self._rows, total=seen["total"], completed=over, note=note)
        if monotonic() - self._told_at >= LINE_SECONDS:
            self._line(f"{seen['state']}: {over} of {'?' if seen['total'] is None else seen['total']} rows")

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(text, soft_wrap=True)
            self._told_at = monotonic()


def verdict(console: Console, seen: Mapping[str, Any]) -> int:
    """Says what has become of the import; answers the exit code."""
    for error in seen["errors"][:MOST_LINES]:
        where = f" {error['pointer']}" if error["pointer"] else ""
        console.print(f"line {error['line']}{where}: {escape(error['detail'])} ({error['code']})", soft_wrap=True)
    more = max(seen["failed"], len(seen["errors"])) - MOST_LINES
    if more > 0:
        console.print(f"… and {more} more; the first hundred are at /v1/imports/{seen['id']}", soft_wrap=True)
    if seen["state"] == "failed":
        console.print("failed as a whole", style="red")
        return 1
    blank = f", {seen['skipped']} blank ones skipped" if seen["skipped"] else ""
    console.print(f"{seen['done']} of {seen['total']} products added, {seen['failed']} rows refused{blank}")
    return 1 if seen["failed"] else 0

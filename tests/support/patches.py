"""Unified diffs, applied strictly: the lines that a hunk begins with must stand in its file once, wherever that is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(kw_only=True)
class Hunk:
    """A change to a file: its lines before and after."""

    path: str
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    added: int = 0


def hunks_of(diff: str) -> Iterator[Hunk]:
    """The hunks of a diff of any number of files."""
    path = ""
    hunk: Hunk | None = None
    for line in diff.splitlines():
        if line.startswith(("--- a/", "+++ b/", "@@ ")):
            if hunk is not None:
                yield hunk
            path = line.removeprefix("+++ b/") if line.startswith("+++ ") else path
            hunk = Hunk(path=path) if line.startswith("@@ ") else None
        elif hunk is not None:
            _take(hunk, line)
    if hunk is not None:
        yield hunk


def apply(root: Path, hunks: Iterable[Hunk]) -> None:
    """Changes the files under ``root``."""
    for hunk in hunks:
        file = root / hunk.path
        text, before, after = file.read_text(), "\n".join(hunk.before), "\n".join(hunk.after)
        assert f"\n{text}".count(f"\n{before}\n") == 1, f"{hunk.path} does not have this, or more than once:\n{before}"
        file.write_text(f"\n{text}".replace(f"\n{before}\n", f"\n{after}\n")[1:])


def _take(hunk: Hunk, line: str) -> None:
    sign, text = line[:1] or " ", line[1:]
    assert sign in " +-", f"no line of a diff: {line}"
    if sign != "+":
        hunk.before.append(text)
    if sign != "-":
        hunk.after.append(text)
    hunk.added += sign == "+"

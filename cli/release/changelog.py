"""The changelog as the check reads it: its versions, the newest first, and what each says that it breaks."""

import re
from dataclasses import dataclass
from typing import Final

_HEADING: Final = re.compile(r"^## (\d+)\.(\d+)\.(\d+)(?: \((.+)\))?$", re.MULTILINE)
_BREAKING: Final = re.compile(r"^### Breaking\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_NAMED: Final = re.compile(r"`([^`\n]+)`")

Version = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A version: when it was released, unless it is yet to be, and the places that it names as broken."""

    version: Version
    note: str | None
    broken: frozenset[str]

    @property
    def is_dated(self) -> bool:
        """Whether it has been released, or is being."""
        return self.note is not None and _DATE.fullmatch(self.note) is not None


def entries(text: str) -> list[Entry]:
    """Every version. Raises ValueError for a changelog that has none, or whose order is not from new to old."""
    parts = _HEADING.split(text)[1:]
    found = [_entry(*parts[at : at + 5]) for at in range(0, len(parts), 5)]
    versions = [entry.version for entry in found]
    if not found or versions != sorted(set(versions), reverse=True):
        raise ValueError("the changelog must have a heading such as `## 1.2.3 (2026-12-01)` per version, newest first")
    return found


def _entry(*parts: str) -> Entry:
    major, minor, patch, note, body = parts
    named = "".join(_BREAKING.findall(body))
    return Entry(
        version=(int(major), int(minor), int(patch)), note=note or None, broken=frozenset(_NAMED.findall(named))
    )


def may_break(version: Version, last: Version) -> bool:
    """Whether a version after ``last`` may break what clients of that rely on (Semantic Versioning 2.0.0, 4 and 8)."""
    return version > last and (version[0] > last[0] or (last[0] == 0 and version[1] > last[1]))


def written(version: Version) -> str:
    """As `1.2.3`."""
    return ".".join(map(str, version))


def version_of(text: str) -> Version:
    """`1.2.3` as numbers. Raises ValueError for what is none."""
    major, minor, patch = map(int, text.split("."))
    return major, minor, patch

"""The documents of former releases, kept beside those of this one: what they promise, without what explains it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from cli.release.change import Node
from cli.release.changelog import Version, version_of, written

DOCUMENTS: Final = ("openapi", "asyncapi")
FOLDER: Final = "releases"

_PROSE: Final = frozenset({"description", "summary", "example", "examples", "title", "tags"})
_NAMES: Final = frozenset({"properties", "schemas", "messages", "parameters", "channels", "paths"})
"""What is within these goes by names of our own: a field may be called `title`."""


def current(docs: Path) -> Mapping[str, Node]:
    """The documents as they are now."""
    return {name: orjson.loads((docs / f"{name}.json").read_bytes()) for name in DOCUMENTS}


def releases(docs: Path) -> list[Version]:
    """Those whose documents are kept, in order."""
    return sorted(version_of(folder.name) for folder in (docs / FOLDER).glob("*.*.*"))


def released(docs: Path, version: Version) -> Mapping[str, Node]:
    """The documents of a release."""
    folder = _folder(docs, version)
    return {name: orjson.loads((folder / f"{name}.json").read_bytes()) for name in DOCUMENTS}


def keep(docs: Path, version: Version) -> Path:
    """Keep the documents as those of a release. Raises FileExistsError for one that has been: it stays as it was."""
    folder = _folder(docs, version)
    folder.mkdir(parents=True)
    for name, document in current(docs).items():
        (folder / f"{name}.json").write_bytes(orjson.dumps(_without_prose(document)) + b"\n")
    return folder


def _folder(docs: Path, version: Version) -> Path:
    return docs / FOLDER / written(version)


def _without_prose(node: Any, *, named: bool = False) -> Any:
    """Two thirds of the documents are for people, and say nothing that a client could rely on."""
    if isinstance(node, list):
        return [_without_prose(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without_prose(value, named=key in _NAMES and not named)
        for key, value in node.items()
        if named or key not in _PROSE
    }

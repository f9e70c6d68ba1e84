"""The names of read models' tables, indexes and columns, made and put into statements in one place: no parameter can do
that.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_NAME: Final = re.compile(r"rm_[a-z][a-z_]*_[0-9]+")
_PART: Final = re.compile(r"[\w\s$:.,=()\[\]]*")
"""Names, types and numbers of parameters: nothing in it can begin a text, a comment or another statement."""


@lru_cache(maxsize=256)
def table_name(projection: str, generation: int) -> str:
    """Where a generation of a read model is kept. Raises ``ValueError`` for what is no name of ours."""
    name = f"rm_{projection}_{generation}"
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} names no generation")
    return name


def index_names(table: str, definitions: Sequence[str]) -> Sequence[str]:
    """The names of a table's indexes, each of the columns of its definition: those that Postgres would give them.

    Where it makes several at a time, it may give two of them the same.
    """
    columns = [re.findall(r"[(,]\s*(\w+)", definition.partition(")")[0]) for definition in definitions]
    stems = ["_".join((table, *each, "idx")) for each in columns]
    return [f"{stem}{stems[:place].count(stem) or ''}" for place, stem in enumerate(stems)]


def with_names(statement: str, **parts: object) -> str:
    """A statement with names of our own in its ``{…}``. Raises ``ValueError`` for a part that is more than names."""
    for part in parts.values():
        if not _PART.fullmatch(str(part)):
            raise ValueError(f"{part!r} is more than names")
    return statement.format(**parts)

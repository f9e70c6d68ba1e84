"""The names of read models' tables and columns, made and put into statements in one place: no parameter can do that."""

import re
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


def with_names(statement: str, **parts: object) -> str:
    """A statement with names of our own in its ``{…}``. Raises ``ValueError`` for a part that is more than names."""
    for part in parts.values():
        if not _PART.fullmatch(str(part)):
            raise ValueError(f"{part!r} is more than names")
    return statement.format(**parts)

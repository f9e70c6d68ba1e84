"""The names of the tables of read models, made in one place: a statement can have no parameter for them."""

import re
from functools import lru_cache
from typing import Final

_NAME: Final = re.compile(r"rm_[a-z][a-z_]*_[0-9]+")


@lru_cache(maxsize=256)
def table_name(projection: str, generation: int) -> str:
    """Where a generation of a read model is kept. Raises ``ValueError`` for what is no name of ours."""
    name = f"rm_{projection}_{generation}"
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} names no generation")
    return name

"""The table of problem codes: how each is told to clients, what it means, when it comes and what to do about it."""

from collections.abc import Mapping
from typing import Final

from api.problem_kinds.asking import ASKING
from api.problem_kinds.kind import Kind
from api.problem_kinds.reading import READING
from api.problem_kinds.rules import RULES
from api.problem_kinds.server import SERVER

__all__ = ["STATUS", "Kind"]

STATUS: Final[Mapping[str, Kind]] = {**READING, **ASKING, **RULES, **SERVER}
"""Every code there is, with how it is told."""

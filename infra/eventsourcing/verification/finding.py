"""What a check has come to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_TOLD: Final = 5
"""Faults of one check that are told; of a log that is in ruins nobody reads them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A check, how much it has looked at, and what is wrong: nothing, if all is well."""

    name: str
    looked_at: int
    faults: Sequence[str] = ()

    @property
    def well(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

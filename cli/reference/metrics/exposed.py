"""A metric as Prometheus has it."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Process: TypeAlias = Literal["api", "relay", "projections", "tasks"]

ALL: Final[tuple[Process, ...]] = ("api", "relay", "projections", "tasks")


@dataclass(frozen=True, slots=True)
class Exposed:
    """``across`` is how the series of several processes become one figure: one that each of them tells of the same
    thing is not to be added up."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    processes: tuple[Process, ...]
    across: Literal["sum", "max", "min"]
    text: str

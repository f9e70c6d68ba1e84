"""What a side's process is told: where the servers are and how much to do. Travels as one JSON argument."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One run's orders. ``database`` and ``redis`` are URLs on the loopback interface."""

    database: str
    redis: str
    seconds: float
    writers: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> str:
        """The task as a command line argument."""
        return json.dumps(asdict(self))


def received() -> Task:
    """The task in this process's first argument."""
    return Task(**json.loads(sys.argv[1]))

"""What a run of the bench was asked to do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.md"
NOTES = ROOT / "benchmarks" / "notes.md"
"""What profiles have shown; goes into the results."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """``seconds`` is the length of each timed lap; ``events`` the length of the log that is replayed and relayed.

    ``database`` and ``redis`` are URLs of servers that run already; without both the bench starts its own.
    """

    only: Sequence[str] = ()
    rounds: int = 3
    seconds: float = 4.0
    events: int = 1_000_000
    output: Path | None = RESULTS
    database: str | None = None
    redis: str | None = None

    @classmethod
    def of(cls, *, quick: bool, output: Path | None, only: Sequence[str], **given: Any) -> "Options":
        """The defaults, shorter ones for a quick look, and over them what was given (``None``: not given).

        Only a whole run goes on record by itself.
        """
        default = cls(rounds=1, seconds=1.5, events=200_000) if quick else cls()
        record = output or (None if quick or only else RESULTS)
        chosen = {name: value for name, value in given.items() if value is not None}
        return replace(default, only=only, output=record, **chosen)

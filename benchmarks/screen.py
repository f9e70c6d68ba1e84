"""The bench's terminal: what is being played, each lap's figures, the verdicts; plain lines where it is no terminal."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status
from rich.table import Table

from benchmarks.figures import Figures
from benchmarks.measure import Measure, Result
from benchmarks.report import rows


class Screen:
    """Shows one run of the bench."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None

    def say(self, line: str) -> None:
        """One line of progress."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def facts(self, facts: Mapping[str, str]) -> None:
        """The machine and the versions."""
        for name, fact in facts.items():
            self.say(f"{name:>14}  {fact}")

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """While a measure is prepared and played, a terminal shows that something moves."""
        if not self._console.is_terminal:
            self.say(f"{name}: preparing")
            yield
            return
        with self._console.status(f"{name}: preparing") as self._status:
            yield
        self._status = None

    def lap(self, measure: str, side: str, number: int, of: int) -> None:
        """A lap begins."""
        if self._status is not None:
            self._status.update(f"{measure}: {side}, round {number} of {of}")

    def lapped(self, measure: Measure, side: str, number: int, figures: Figures) -> None:
        """A lap has ended."""
        latency = f"  p50 {figures.p50_ms:.2f} ms  p99 {figures.p99_ms:.2f} ms" if figures.p99_ms else ""
        self.say(f"{measure.name} #{number}  {side}: {figures.rate:,.0f} {measure.unit}{latency}")

    def verdicts(self, results: Sequence[Result]) -> None:
        """The table of all bars."""
        if not self._console.is_terminal:
            for row in rows(results):
                self.say(" | ".join(row))
            return
        table = Table("measure", "Weir", "against", "ratio", "bar", "verdict")
        for row in rows(results):
            style = {"PASS": "green", "MISSED": "bold red"}.get(row[-1].split(" ", 1)[0], "dim")
            table.add_row(*row, style=style)
        self._console.print(table)

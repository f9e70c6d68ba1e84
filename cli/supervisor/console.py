"""What the supervisor says, and how: colours at a terminal, plain lines elsewhere."""

import contextlib
import sys
from collections.abc import Callable
from enum import IntEnum

from rich.console import Console as Terminal
from rich.text import Text


class Level(IntEnum):
    """How much a line matters."""

    INFO = 20
    WARNING = 30
    ERROR = 40


Report = Callable[[str, str, Level], None]
"""Called with the child's name, a line (or several), and how much it matters."""

_STYLES = {Level.INFO: "", Level.WARNING: "yellow", Level.ERROR: "red"}
_NAME_COLOURS = ("cyan", "green", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta", "bright_blue")
_NAME_WIDTH = 13


class Console:
    """Lines to the terminal, each behind the name of the child that it is about."""

    def __init__(self, terminal: Terminal | None = None) -> None:
        self._terminal = terminal or Terminal(file=sys.stdout, highlight=False, soft_wrap=True)
        self._colours: dict[str, str] = {}

    def report(self, name: str, message: str, level: Level) -> None:
        """Print each line of the message behind the name."""
        for line in message.splitlines():
            text = Text(f"{name:<{_NAME_WIDTH}}", style=self._colour(name))
            self._print(text.append("| ", style="dim").append(line, style=_STYLES[level]))

    def links(self, places: dict[str, str]) -> None:
        """Print where things are to be found."""
        width = max(_NAME_WIDTH, *(len(label) + 1 for label in places))
        for label, place in places.items():
            self._print(Text(f"  {label:<{width}}", style="bold").append(place, style="underline"))

    def _print(self, text: Text) -> None:
        # A terminal or a reader that has gone away is no reason to end: rich ends the program, and so all it keeps.
        with contextlib.suppress(OSError, SystemExit):
            self._terminal.print(text)

    def _colour(self, name: str) -> str:
        return self._colours.setdefault(name, _NAME_COLOURS[len(self._colours) % len(_NAME_COLOURS)])


def silent(_name: str, _message: str, _level: Level) -> None:
    """Say nothing."""

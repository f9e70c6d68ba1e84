"""How far a backup or a restore is: a line that moves on a terminal, else a line now and then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final, TypeAlias

import typer
from rich.console import Console
from rich.text import Text

PLAIN_SECONDS: Final = 5.0
"""How often a line is printed where there is no terminal."""

Show: TypeAlias = Callable[[str], None]
"""Is told what is being done, as often as anybody likes."""


@contextmanager
def shown(console: Console) -> Iterator[Show]:
    """Shows it until the end of the block; what is printed on the same console meanwhile stands above."""
    if not console.is_terminal:
        yield _Lines()
        return
    with console.status("") as status:
        yield lambda text: status.update(Text(text))


class _Lines:
    """Progress without a terminal: each deed once, and then again now and then."""

    def __init__(self) -> None:
        self._deed, self._last = "", float("-inf")

    def __call__(self, text: str) -> None:
        deed = text.partition(":")[0]
        if deed != self._deed or monotonic() - self._last >= PLAIN_SECONDS:
            self._deed, self._last = deed, monotonic()
            typer.echo(text)

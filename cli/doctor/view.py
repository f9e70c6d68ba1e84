"""How ``weir doctor`` looks: findings on a terminal, plain lines elsewhere, or JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.doctor.finding import Examined

_STYLES: Final = {"ok": "green", "advice": "yellow", "problem": "bold red"}


def show(console: Console, examined: Sequence[Examined]) -> None:
    """All of it."""
    if console.is_terminal:
        _draw(console, examined)
        return
    for check in examined:
        if not check.findings:
            console.print(Text(f"{'ok':<9}{check.name}"), soft_wrap=True)
        for each in check.findings:
            told = f"{each.severity:<9}{check.name}: {each.told}; {each.means}; fix: {each.fix}"
            console.print(Text(told), soft_wrap=True)


def _draw(console: Console, examined: Sequence[Examined]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in examined:
        if not check.findings:
            table.add_row(Text("ok", _STYLES["ok"]), Text(check.name), "")
        for each in check.findings:
            told = Text.assemble(each.told, "\n", (each.means, "dim"), "\n", (each.fix, "cyan"))
            table.add_row(Text(each.severity, _STYLES[each.severity]), Text(check.name), told)
    console.print(table)


def as_json(examined: Sequence[Examined]) -> str:
    """An object for each check."""
    rows = [
        {"check": each.name, "severity": each.severity, "findings": [asdict(one) for one in each.findings]}
        for each in examined
    ]
    return orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode()

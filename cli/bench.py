"""``weir bench``: Weir beside its peers, in a source checkout; what is measured lives in ``benchmarks/``."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from infra.embedded import StartFailed

_ROOT = Path(__file__).resolve().parent.parent

Only = Annotated[list[str] | None, typer.Option(help="Play only this measure; may be given several times.")]
Quick = Annotated[bool, typer.Option("--quick", help="One round of short laps; nothing is put on record.")]
Rounds = Annotated[int | None, typer.Option(min=1, max=50, help="Rounds per measure (3).")]
Seconds = Annotated[float | None, typer.Option(min=0.2, max=60, help="Length of a timed lap (4).")]
Events = Annotated[int | None, typer.Option(min=10_000, max=50_000_000, help="Length of the log replayed (1,000,000).")]
Output = Annotated[Path | None, typer.Option(help="Where to write the record, instead of benchmarks/results.md.")]
Database = Annotated[
    str | None, typer.Option(help="A PostgreSQL that runs already; its user must be able to create databases.")
]
Redis = Annotated[str | None, typer.Option(help="A Redis or Valkey that runs already.")]


def register(app: typer.Typer) -> None:
    """Add ``weir bench``."""
    app.command()(bench)


def bench(
    only: Only = None,
    quick: Quick = False,
    rounds: Rounds = None,
    seconds: Seconds = None,
    events: Events = None,
    output: Output = None,
    database: Database = None,
    redis: Redis = None,
) -> None:
    """Measure, side by side with others, on this machine. Ends with 1 if a bar was missed, with 2 if a side failed."""
    if not (_ROOT / "benchmarks" / "main.py").exists():
        raise typer.BadParameter("the benchmarks come with the source, not with an installed package")
    sys.path.insert(0, str(_ROOT))
    from benchmarks.failure import Failed
    from benchmarks.main import UnknownMeasure, run
    from benchmarks.options import Options

    options = Options.of(
        only=only or (),
        quick=quick,
        rounds=rounds,
        seconds=seconds,
        events=events,
        output=output,
        database=database,
        redis=redis,
    )
    console = Console()
    try:
        cleared = run(options, console)
    except (UnknownMeasure, Failed, StartFailed) as failure:
        console.print(str(failure), style="red", highlight=False, markup=False)
        raise typer.Exit(2) from None
    raise typer.Exit(0 if cleared else 1)

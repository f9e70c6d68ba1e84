"""All processes of Weir on one machine, started in order, restarted when they die, stopped in order.

``async with Stack(Options(directory=...)) as stack`` is what ``weir up``, the demo and the fault tests run.
"""

from cli.supervisor.child import Backoff, Child
from cli.supervisor.console import Console, Level, Report
from cli.supervisor.programs import Program, Stage, Wiring, weir_programs
from cli.supervisor.stack import Options, Stack

__all__ = [
    "Backoff",
    "Child",
    "Console",
    "Level",
    "Options",
    "Program",
    "Report",
    "Stack",
    "Stage",
    "Wiring",
    "weir_programs",
]

"""Starts those processes anew whose code has changed, while somebody works on it."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

from watchfiles import awatch

from cli.supervisor.console import Level, Report

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("api", "cli", "domain", "infra", "migrations", "projections", "workers")
_KINDS: Final = ("relay", "projections", "tasks")

USERS: Final[Mapping[str, tuple[str, ...]]] = {
    "api/": ("api",),
    "workers/relay.py": ("relay",),
    "workers/projections.py": ("projections",),
    "workers/rebuilds/": ("projections",),
    "workers/__init__.py": _KINDS,
    "workers/main.py": _KINDS,
    "workers/parts.py": _KINDS,
    "workers/runtime.py": ("projections", "tasks"),
    "workers/job_metrics.py": ("projections", "tasks"),
    "workers/job_runner.py": ("projections", "tasks"),
    "workers/clock_watch.py": ("projections", "tasks"),
    "workers/due_loop.py": ("projections", "tasks"),
    "workers/": ("tasks",),
    "projections/": ("api", "projections", "tasks"),
    "infra/eventsourcing/": ("api", *_KINDS),
    "infra/": ("api", *_KINDS, "mailsink", "provider"),
    "domain/": ("api", *_KINDS, "provider"),
    "cli/provider/": ("provider",),
    "cli/signals.py": ("api", "mailsink", "provider"),
    "cli/listening.py": ("mailsink", "provider"),
    "cli/mailsink/": ("mailsink",),
}
"""Which programs load what: the first line whose beginning a file's path has. What is in none is nobody's here."""

_ONCE: Final = ("migrations/", "cli/supervisor/", "cli/up.py")


class Renewable(Protocol):
    """A kept process."""

    @property
    def name(self) -> str: ...

    def renew(self) -> None: ...


async def reloading(children: Collection[Renewable], report: Report, root: Path = ROOT) -> None:
    """Watches the code, and has each process that a change touches end and start again."""
    async for changed in _changes(root):
        touched = users_of(changed)
        if any(path.startswith(_ONCE) for path in changed):
            report("weir", "what runs once has changed: start `weir up` anew for it", Level.WARNING)
        for child in children:
            # A second process of a kind is called projections-2.
            if child.name.partition("-")[0] in touched:
                report(child.name, f"starts anew for {', '.join(changed)}", Level.INFO)
                child.renew()


def users_of(paths: Iterable[str]) -> set[str]:
    """The programs that any of these files concerns."""
    beginnings = (next((each for each in USERS if path.startswith(each)), None) for path in paths)
    return {user for each in beginnings if each is not None for user in USERS[each]}


async def _changes(root: Path) -> AsyncIterator[list[str]]:
    """The paths of files that have changed together, from the root of the source."""
    async for changed in awatch(*(root / package for package in PACKAGES)):
        yield sorted({Path(path).relative_to(root).as_posix() for _, path in changed})

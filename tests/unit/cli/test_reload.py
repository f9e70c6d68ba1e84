"""``weir up --reload``: which processes a changed file concerns, and that they are started anew."""

import asyncio
from pathlib import Path

import pytest

from cli.supervisor.console import Level
from cli.supervisor.reload import PACKAGES, reloading, users_of
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


class Kept:
    """A process that counts how often it was asked for a successor."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.renewed = 0

    def renew(self) -> None:
        self.renewed += 1


@pytest.mark.parametrize(
    ("path", "users"),
    [
        ("api/commands/orders.py", {"api"}),
        ("projections/order_summary.py", {"api", "projections", "tasks"}),
        ("workers/relay.py", {"relay"}),
        ("workers/rebuilds/requested.py", {"projections"}),
        ("workers/mail/templates/en/frame.html", {"tasks"}),
        ("domain/orders/decider.py", {"api", "relay", "projections", "tasks", "provider"}),
        ("cli/mailsink/mailbox.py", {"mailsink"}),
        ("cli/operations/keys.py", set()),
    ],
)
def test_a_change_concerns_the_processes_that_run_the_file(path: str, users: set[str]) -> None:
    assert users_of([path]) == users


async def test_who_runs_a_changed_file_is_started_anew_and_nobody_else(tmp_path: Path) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
    api, relay, second = Kept("api"), Kept("relay"), Kept("projections-2")
    said: list[tuple[str, str]] = []

    def report(name: str, message: str, _level: Level) -> None:
        said.append((name, message))

    watching = asyncio.create_task(reloading([api, relay, second], report, tmp_path))

    async def seen() -> bool:
        (tmp_path / "projections" / "order_summary.py").write_text(f"{asyncio.get_running_loop().time()}")
        return bool(api.renewed and second.renewed)

    try:
        await eventually(seen, 20)
    finally:
        watching.cancel()
    assert relay.renewed == 0
    assert ("api", "starts anew for projections/order_summary.py") in said

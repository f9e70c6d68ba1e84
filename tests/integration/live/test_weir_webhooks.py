"""``weir webhooks``: operators see who takes nothing and why, what was sent, and have it sent again."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID, uuid4

import pytest

from cli.main import main
from infra.configs import pool_of
from infra.postgres.pool import Database
from infra.settings import Settings
from infra.webhooks import outbox, standings
from infra.webhooks.outbox import Outcome
from tests.support.webhooks import has_delivery

T = TypeVar("T")

Weir = Callable[..., tuple[int, str, str]]


@pytest.fixture
def weir(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Weir:
    """Runs the command: its exit code and what it says."""
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("REDIS_URL", settings.redis_url.get_secret_value())

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["weir", "webhooks", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        said, complaints = capsys.readouterr()
        return int(end.value.code or 0), said, complaints

    return run


def done(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    async def doing() -> T:
        database = Database(pool_of(settings))
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(doing())


async def is_refused(database: Database) -> tuple[UUID, UUID]:
    """A delivery that its subscriber has answered with 500, five times over: its circuit is open."""
    webhook_id, delivery_id = await has_delivery(database, uuid4())
    (claimed,) = await outbox.claim(database, 1)
    (delivery,) = await outbox.due(database, claimed, 1)
    told = {"at": None, "status": 500, "ms": 1, "answer": "[red]no", "error": None}
    await outbox.settle(database, delivery, Outcome(state="due", answer=told))
    await outbox.pause(database, claimed, 5, 60.0, "HTTP 500")
    return webhook_id, delivery_id


async def is_deactivated(database: Database) -> tuple[UUID, UUID]:
    webhook_id, delivery_id = await has_delivery(database, uuid4())
    await database.execute("UPDATE webhook_subscribers SET active = false WHERE webhook_id = $1", webhook_id)
    return webhook_id, delivery_id


async def is_due(database: Database) -> bool:
    """Whether somebody's turn has come."""
    return bool(await outbox.claim(database, 9))


def row_of(table: str, id_: UUID) -> list[str]:
    """The cells of a row, as they are shown."""
    (line,) = [line for line in table.splitlines() if str(id_) in line]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_operators_see_who_takes_nothing_and_why(weir: Weir, settings: Settings) -> None:
    assert weir("list") == (0, "there is no webhook\n", "")
    assert done(settings, standings.total) == (0.0, 0)
    refusing, _ = done(settings, is_refused)
    inactive, _ = done(settings, is_deactivated)
    code, said, _ = weir("list")
    assert code == 0
    (_, _, host, state, circuit, failures, owed, oldest, then, error) = row_of(said, refusing)
    assert (host, state, circuit, failures, owed, error) == ("hooks.example", "active", "open", "5", "1", "HTTP 500")
    assert oldest < then
    assert row_of(said, inactive)[3:7] == ["deactivated", "closed", "0", "1"]
    assert said.index(str(refusing)) < said.index(str(inactive)), "who has waited longest comes first"
    oldest_seconds, alone = done(settings, standings.total)
    assert (0 < oldest_seconds < 60, alone) == (True, 1)


def test_operators_see_what_became_of_each_delivery_and_have_one_sent_again(weir: Weir, settings: Settings) -> None:
    webhook_id, delivery_id = done(settings, is_refused)
    code, said, _ = weir("deliveries", str(webhook_id))
    assert code == 0
    _, event, position, state, attempts, since, then, answer = row_of(said, delivery_id)
    assert (event, position, state, attempts, answer) == ("order.paid", "1", "due", "1", "HTTP 500")
    assert since < then
    assert weir("deliveries", str(webhook_id), "--state", "failed")[1].startswith("nothing was sent")
    assert not done(settings, is_due), "its circuit is open"
    assert weir("retry", str(delivery_id)) == (0, f"{delivery_id} is due\n", "")
    assert done(settings, is_due)


def test_what_cannot_be_sent_again_is_told(weir: Weir, settings: Settings) -> None:
    _, inactive = done(settings, is_deactivated)
    nothing = uuid4()
    assert weir("retry", str(inactive)) == (
        1,
        "",
        f"nothing was changed: the webhook of {inactive} is not active\n",
    )
    assert weir("retry", str(nothing)) == (1, "", f"nothing was changed: there is no delivery {nothing}\n")

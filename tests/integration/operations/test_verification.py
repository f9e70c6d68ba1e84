"""`weir verify` finds whatever is not as the log says, names it, and has nothing to say of what is."""

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from cli.backup.checks import FILES, verified
from cli.main import build
from infra.eventsourcing.store.snapshots import forget
from infra.eventsourcing.verification import Checked
from infra.storage import Folder
from projections.registry import PROJECTIONS
from tests.support.write_side import connected

pytestmark = pytest.mark.anyio

PRODUCT: Final = UUID(int=7)


async def faults(url: str, storage: Folder | None = None) -> dict[str, list[str]]:
    """What is wrong, by the check that found it."""
    told: list[Checked] = []
    well = await verified(SecretStr(url), storage, told.append)
    assert [check.looked_at > 0 for check in told if check.name in ("positions", "streams", "product_card")] == [
        True
    ] * 3
    found = {check.name: list(check.faults) for check in told if not check.well}
    assert well is not bool(found)
    return found


async def spoil(url: str, statements: str) -> None:
    async with connected(url) as connection:
        await connection.execute(statements)


async def test_nothing_is_wrong_with_a_shop_at_work(shop_url: str) -> None:
    assert await faults(shop_url) == {}


async def test_the_mark_that_an_erased_stream_gets_no_snapshot_is_no_fault(shop_url: str) -> None:
    async with connected(shop_url) as connection:
        stream: UUID = await connection.fetchval("SELECT stream_id FROM events WHERE category = 'account' LIMIT 1")
        await forget(connection, "account", [stream])
    assert await faults(shop_url) == {}


SPOILED: Final = {
    "a hole in the log": (
        "DELETE FROM events WHERE position = (SELECT max(position) - 1 FROM events)",
        {"positions": "comes behind"},
    ),
    "a lost end": (
        "UPDATE log_head SET position = log_position() + 3",
        {"positions": "positions up to"},
    ),
    "a version given twice": (
        "UPDATE events SET version = 99 WHERE position = (SELECT max(position) FROM events)",
        {"versions": "version 99"},
    ),
    "a stream in two shards": (
        "UPDATE events SET shard = (shard + 1) % 4"
        " WHERE position = (SELECT max(position) FROM events WHERE version > 1)",
        {"shards": "is in shard"},
    ),
    "an idempotency key from the future": (
        "UPDATE commands SET position = 1000000 WHERE key = (SELECT key FROM commands LIMIT 1)",
        {"idempotency keys": "a key was answered with position 1000000"},
    ),
    "a checkpoint from the future": (
        "UPDATE checkpoints SET position = 1000000 WHERE consumer = 'account_card' AND shard = 1",
        {"checkpoints": "account_card of generation"},
    ),
    "a checkpoint of another history": (
        "UPDATE checkpoints SET event_position = 1, event_recorded_at = now() WHERE consumer = 'account_card'"
        " AND shard = 1 AND generation = (SELECT live_generation FROM projections WHERE name = 'account_card')",
        {"checkpoints": "has applied an event at 1 that is not in the log"},
    ),
    "a lost checkpoint": (
        "DELETE FROM checkpoints WHERE consumer = 'room_card' AND shard = 1",
        {"checkpoints": "room_card has no checkpoint"},
    ),
    "a snapshot of another history": (
        "INSERT INTO snapshots (stream_id, category, code, version, position, recorded)"
        " SELECT stream_id, category, '', version, position, 0 FROM events LIMIT 1",
        {"snapshots": "is not of the event"},
    ),
    "a process that has seen too much": (
        "INSERT INTO processes VALUES ('order_time', gen_random_uuid(), 1, '{}')",
        {"processes": "which the log does not have"},
    ),
    "a mail for an event that never was": (
        "INSERT INTO mail_ledger (mail_id, position, kind, recipient, context, message_id)"
        " VALUES (gen_random_uuid(), 1000000, 'x', 'x', '{}', 'x')",
        {"outboxes": "a recipient of mail is owed something for position 1000000"},
    ),
    "an event that nobody can read": (
        """UPDATE events SET data = '{"sku": 1}' WHERE position = (
            SELECT min(position) FROM events WHERE type = 'product.added')""",
        {"streams": "cannot be folded from version 1 on"},
    ),
    "a unique key that is gone": (
        "DELETE FROM claims WHERE key_digest = (SELECT key_digest FROM claims WHERE scope = 'email' LIMIT 1)",
        {"unique keys": "does not have the unique key of email"},
    ),
    "a unique key too many": (
        "INSERT INTO claims SELECT scope, sha256(key_digest), stream_id FROM claims WHERE scope = 'email' LIMIT 1",
        {"unique keys": "has a unique key of email that its events do not take"},
    ),
    "a unique key of nobody": (
        "INSERT INTO claims VALUES ('email', sha256('x'), gen_random_uuid())",
        {"unique keys": "1 unique keys are held by streams that have no event"},
    ),
    "a lost allowance": (
        "DELETE FROM allowances WHERE stream_id = (SELECT stream_id FROM allowances LIMIT 1)",
        {"allowances": "does not have the share of unpaid_order"},
    ),
}


@pytest.mark.parametrize("what", SPOILED)
async def test_each_fault_is_found_by_the_check_for_it(shop_url: str, what: str) -> None:
    statements, wanted = SPOILED[what]
    await spoil(shop_url, statements)
    found = await faults(shop_url)
    for check, words in wanted.items():
        assert words in " ".join(found.get(check, [])), found


async def table_of(url: str, projection: str) -> str:
    async with connected(url) as connection:
        live = await connection.fetchval("SELECT live_generation FROM projections WHERE name = $1", projection)
    return PROJECTIONS[projection].table(live)


KEPT: Final = ("order_summary", "product_card", "account_card", "shop_counts", "daily_revenue")


@pytest.mark.parametrize("projection", KEPT)
async def test_a_row_that_the_log_does_not_make_is_found_in_each_read_model(shop_url: str, projection: str) -> None:
    table = await table_of(shop_url, projection)
    one = f"key = (SELECT key FROM {table} ORDER BY key LIMIT 1)"
    await spoil(shop_url, f"UPDATE {table} SET document = '{{}}' WHERE {one}")
    assert "is not what its events make" in (await faults(shop_url))[projection][0]
    await spoil(shop_url, f"DELETE FROM {table} WHERE {one}")
    assert "is not there" in (await faults(shop_url))[projection][0]


@pytest.mark.parametrize("projection", ["order_summary", "product_card"])
async def test_a_row_too_many_is_found(shop_url: str, projection: str) -> None:
    table = await table_of(shop_url, projection)
    await spoil(
        shop_url,
        f"CREATE TEMP TABLE more AS SELECT * FROM {table} LIMIT 1; UPDATE more SET key = '{UUID(int=1)}';"
        f"ALTER TABLE {table} ALTER COLUMN document DROP NOT NULL;"
        f"INSERT INTO {table} (key, position, version, document"
        + "".join(f", {column.name}" for column in PROJECTIONS[projection].columns)
        + ") SELECT key, position, version, document"
        + "".join(f", {column.name}" for column in PROJECTIONS[projection].columns)
        + " FROM more",
    )
    assert (await faults(shop_url))[projection] == ["1 of its rows are made by no event"]


NEXT: Final = {
    "order": "INSERT INTO events SELECT log_position() + 1, stream_id, version + 1, category, shard, 'order.completed',"
    " 1, (SELECT data FROM events WHERE type = 'order.completed' LIMIT 1) || jsonb_build_object('order_id', stream_id),"
    " '{}', now() FROM events WHERE category = 'order' ORDER BY version DESC LIMIT 1",
    "product": "WITH gone AS (INSERT INTO events SELECT log_position() + 1, stream_id, version + 1, category, shard,"
    " 'product.discontinued', 1, jsonb_build_object('product_id', stream_id), '{}', now()"
    " FROM events WHERE category = 'product' ORDER BY version DESC, position DESC LIMIT 1 RETURNING stream_id)"
    " DELETE FROM claims USING gone WHERE claims.stream_id = gone.stream_id",
}


@pytest.mark.parametrize("category", NEXT)
async def test_a_read_model_that_lags_is_compared_as_far_as_it_has_come(shop_url: str, category: str) -> None:
    await spoil(shop_url, NEXT[category])
    assert await faults(shop_url) == {}
    await spoil(shop_url, "UPDATE checkpoints SET position = log_position()")
    assert len(await faults(shop_url)) > 0


@pytest.fixture
def storage(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "files")


async def kept(url: str, folder: Path, content: bytes) -> Path:
    """A picture that a product is shown by."""
    file = f"{sha256(content).hexdigest()}.png"
    await spoil(url, f"INSERT INTO image_files (product_id, file) VALUES ('{PRODUCT}', '{file}')")
    path = folder / "files" / "images" / str(PRODUCT) / file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


async def test_a_picture_with_other_bytes_or_none_is_found(shop_url: str, storage: Folder, tmp_path: Path) -> None:
    path = await kept(shop_url, tmp_path, b"a picture")
    assert await faults(shop_url, storage) == {}
    path.write_bytes(b"another!!")
    assert "has other bytes" in (await faults(shop_url, storage))[FILES][0]
    path.unlink()
    assert "is not there" in (await faults(shop_url, storage))[FILES][0]


async def test_the_command_tells_of_each_check_and_of_faults_by_its_exit_code(
    shop_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", shop_url)
    monkeypatch.setenv("WEIR_DATA_DIR", str(tmp_path))
    run = CliRunner()
    well = await asyncio.to_thread(run.invoke, build(["verify"]), ["verify"])
    assert (well.exit_code, well.output.count("ok ")) == (0, well.output.count("\n")), well.output
    await spoil(shop_url, SPOILED["a lost end"][0])
    wrong = await asyncio.to_thread(run.invoke, build(["verify"]), ["verify"])
    assert wrong.exit_code == 1
    assert "WRONG  positions" in wrong.output
    monkeypatch.setenv("DATABASE_URL", shop_url.replace("/test_", "/none_"))
    nothing = await asyncio.to_thread(run.invoke, build(["verify"]), ["verify"])
    assert nothing.exit_code == 2
    assert "not verified" in nothing.output

"""``weir import`` against a running shop, as its user sees it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from infra.settings import Settings
from tests.support.importing import HEADER, Scene, importing, row, written

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def worked_at(scene: Scene) -> AsyncIterator[None]:
    """A worker takes turns at whatever waits."""

    over = asyncio.Event()

    async def work() -> None:
        while not over.is_set():
            for found in await scene.database.fetch("SELECT import_id FROM imports WHERE state = 'waiting'"):
                await scene.importer.turn(found["import_id"])
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        yield
        over.set()


async def weir_import(scene: Scene, *arguments: str, **environment: str) -> tuple[int, str]:
    """The exit code and all that was said."""
    url = str(scene.shop.http.base_url)
    token = scene.staff.headers["Authorization"].removeprefix("Bearer ")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "import", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "WEIR_URL": url, "WEIR_TOKEN": token, "COLUMNS": "200", **environment},
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_good_file_is_sent_and_watched_to_its_end(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    file.write_bytes(written(row(number) for number in range(20)))
    async with importing(settings) as scene, worked_at(scene):
        code, said = await weir_import(scene, str(file))
        assert code == 0, said
        assert "20 of 20 products added, 0 rows refused" in said
        assert len(await scene.products()) == 20


async def test_refused_rows_are_named_and_end_with_1(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    file.write_text(f"{HEADER}\nA,a,1.00,EUR,1\nB,b,x,EUR,1\n")
    async with importing(settings) as scene, worked_at(scene):
        code, said = await weir_import(scene, str(file))
        assert code == 1
        assert "line 3 /price/amount: " in said
        assert "1 of 2 products added, 1 rows refused" in said
        found = await scene.database.fetchrow("SELECT import_id FROM imports")
        assert found is not None
        code, again = await weir_import(scene, "--watch", str(found["import_id"]))
        assert code == 1
        assert again.endswith(said[said.index("line 3") :])


async def test_who_may_not_import_is_told_so(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "products.ndjson"
    file.write_text("{}\n")
    async with importing(settings) as scene:
        customer = await scene.shop.client()
        token = customer.headers["Authorization"].removeprefix("Bearer ")
        code, said = await weir_import(scene, str(file), WEIR_TOKEN=token)
        assert (code, said.partition(":")[0]) == (1, "refused")
        assert "insufficient-scope" in said
        assert token not in said


async def test_who_is_not_known_is_told_so_however_much_they_send(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    with file.open("wb") as large:
        large.truncate(28 * 1024 * 1024)  # of which the disk holds nothing
    async with importing(settings) as scene:
        code, said = await weir_import(scene, str(file), WEIR_TOKEN="mistyped")
        assert (code, said.partition(":")[0]) == (1, "refused"), said
        assert "unauthenticated" in said
        assert "cannot be reached" not in said


@pytest.mark.parametrize("arguments", [(), ("products.csv", "--watch", "0192f0c1-0000-7000-8000-000000000000")])
async def test_a_file_or_an_import_is_named(settings: Settings, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "products.csv").write_text("")
    async with importing(settings) as scene:
        named = [str(tmp_path / each) if each.endswith(".csv") else each for each in arguments]
        code, said = await weir_import(scene, *named)
        assert code == 2
        assert "--watch" in said

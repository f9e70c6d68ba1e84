"""A file whose sender is gone at any wait: it is there whole, or nothing of it is."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.storage.local_disk import DRAFTS, Folder
from tests.support.interruption import Moment, at_each_wait, leftovers
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

PARTS = (b"one ", b"and ", b"all")


async def _coming() -> AsyncIterator[bytes]:
    for part in PARTS:
        await asyncio.sleep(0)
        yield part


@pytest.mark.parametrize("moment", Moment)
async def test_nothing_of_it_is_left_behind(tmp_path: Path, moment: Moment) -> None:
    async def put(number: int) -> None:
        await Folder(tmp_path).put(f"{number}.png", _coming(), content_type="image/png")

    async def are_drafts_gone() -> bool:
        return not [*(tmp_path / DRAFTS).glob("*")]

    async with leftovers() as left:
        async for cut in at_each_wait(put, moment):
            await left.none()
            await eventually(are_drafts_gone)
            there = tmp_path / f"{cut.place}.png"
            assert (there.read_bytes() if there.exists() else b"".join(PARTS)) == b"".join(PARTS)
    assert there.exists()

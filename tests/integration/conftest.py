"""What only the integration tests need: two write sides on one log, which are to each other as two processes are."""

from collections.abc import AsyncIterator

import pytest

from tests.write_side import WriteSide, write_side


@pytest.fixture
async def ours(database_url: str) -> AsyncIterator[WriteSide]:
    """A write side on a log of its own."""
    async with write_side(database_url) as opened:
        yield opened


@pytest.fixture
async def theirs(database_url: str) -> AsyncIterator[WriteSide]:
    """Another one on the same log."""
    async with write_side(database_url) as opened:
        yield opened

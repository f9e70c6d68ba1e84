"""The embedded servers: how they are made, whom they run as, and what they survive."""

import asyncpg
import pytest
from redis.asyncio import Redis

from infra.settings import Settings

pytestmark = pytest.mark.anyio


async def test_each_test_has_a_migrated_database_and_an_empty_valkey(settings: Settings) -> None:
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        assert await connection.fetchval("SELECT position FROM log_head") == 0
    finally:
        await connection.close()
    async with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
        assert await redis.dbsize() == 0

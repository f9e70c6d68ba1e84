"""Connections to Redis: what they answer, and that they end when they are told to."""

import asyncio
from collections import Counter

import pytest
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from infra.redis.client import BROKEN, open_connection
from infra.redis.pipeline import PipelineConnection
from infra.redis.resp import pack
from tests.proxy import Proxy

pytestmark = pytest.mark.anyio


async def cancelled_after(url: SecretStr, turns: int) -> str:
    """Cancels a connect after so many turns of the event loop; answers what came of it."""
    connecting = asyncio.create_task(open_connection(url))
    for _ in range(turns):
        await asyncio.sleep(0)
    done = connecting.done()
    connecting.cancel()
    try:
        connection = await connecting
    except asyncio.CancelledError:
        return "cancelled"
    await connection.disconnect(nowait=True)
    return "done before" if done else "swallowed"


async def test_a_cancelled_connect_never_goes_on(redis_url: str) -> None:
    outcomes = Counter([await cancelled_after(SecretStr(redis_url), turns) for turns in range(400)])
    assert outcomes["cancelled"] > 0
    assert outcomes["swallowed"] == 0


async def test_who_was_cancelled_before_may_still_connect_to_clean_up(redis_url: str) -> None:
    async def work() -> bool:
        try:
            await asyncio.sleep(60)
        finally:
            connection = await open_connection(SecretStr(redis_url))
            await connection.disconnect(nowait=True)
            cleaned.set()
        return True

    cleaned = asyncio.Event()
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert cleaned.is_set()


async def test_replies_come_in_the_order_of_the_commands(redis_url: str) -> None:
    wire = await PipelineConnection.connect(SecretStr(redis_url))
    replies = await wire.ask(b"".join([pack("ECHO", str(number)) for number in range(1_000)]), 1_000)
    assert replies == [str(number).encode() for number in range(1_000)]
    wire.close()


async def test_a_refusal_stands_in_its_place_among_the_replies(redis_url: str) -> None:
    wire = await PipelineConnection.connect(SecretStr(redis_url))
    replies = await wire.ask(pack("PING") + pack("NOSUCH") + pack("PING"), 3)
    assert (replies[0], replies[2]) == (b"PONG", b"PONG")
    assert "unknown command" in str(replies[1])
    with pytest.raises(ResponseError):
        await wire.ask_one(pack("NOSUCH"))
    wire.close()


async def test_after_a_question_that_was_given_up_nothing_more_can_be_asked(redis_url: str) -> None:
    wire = await PipelineConnection.connect(SecretStr(redis_url))
    with pytest.raises(TimeoutError):
        await wire.ask_one(pack("XREAD", "BLOCK", "5000", "STREAMS", "nothing", "$"), 0.05)
    assert not wire.up
    with pytest.raises(RedisConnectionError):
        await wire.ask_one(pack("PING"))


async def test_a_connection_that_is_lost_fails_the_question_at_once(redis_url: str) -> None:
    proxy = Proxy(redis_url)
    await proxy.open()
    wire = await PipelineConnection.connect(SecretStr(proxy.url))
    asking = asyncio.create_task(wire.ask_one(pack("XREAD", "BLOCK", "9000", "STREAMS", "nothing", "$"), 10))
    await asyncio.sleep(0.05)
    await proxy.close()
    with pytest.raises(BROKEN):
        await asyncio.wait_for(asking, 2)


async def test_messages_that_nobody_asked_for_are_pushed(redis_url: str) -> None:
    heard: asyncio.Queue[list[bytes]] = asyncio.Queue()
    listening = await PipelineConnection.connect(SecretStr(redis_url), on_push=heard.put_nowait)
    await listening.ask_one(pack("SUBSCRIBE", "bell"))
    speaking = await PipelineConnection.connect(SecretStr(redis_url))
    await speaking.ask_one(pack("PUBLISH", "bell", "ding"))
    assert await asyncio.wait_for(heard.get(), 2) == [b"message", b"bell", b"ding"]
    listening.close()
    speaking.close()

"""A conversation at two API processes, of which one is killed in the middle, and then Valkey, with all that it held."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr

from domain.accounts import Role
from infra.configs import pool_of
from infra.embedded import Valkey
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.faults.talkers import Talker
from tests.integration.live.test_rooms import joined, opened
from tests.integration.shop.test_account_queries import workers
from tests.support.proxy import proxy_before
from tests.support.read_rows import lay_down
from tests.support.serving import served
from tests.support.shop import Client, Shop, shop
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

TALKERS: Final = 4
WORDS: Final = 4
"""That each of them has to say in each part, of which there are five: no more than may be said without a pause."""


@asynccontextmanager
async def talking(members: Sequence[Client], *ports: Sequence[int]) -> AsyncIterator[list[Talker]]:
    """All of them in a room, until the end of the block; by turns where the one and the other ports lead."""
    room = await opened(members[0])
    await joined(room, *members[1:])
    talkers = [Talker(member, room, at) for member, at in zip(members, cycle(ports), strict=False)]
    tasks = [asyncio.create_task(each.talk()) for each in talkers]
    try:
        yield talkers
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [end for end in ends if not isinstance(end, asyncio.CancelledError)] == []


async def has_read_models(settings: Settings) -> None:
    database = Database(pool_of(settings))
    await lay_down(database)
    await database.close()


def speak(talkers: Sequence[Talker]) -> None:
    for each in talkers:
        each.say(WORDS)


async def all_have_heard_all(talkers: Sequence[Talker]) -> None:
    """All that was said is acknowledged, and everybody has heard it."""
    said = sum(len(each.said) for each in talkers)

    async def heard() -> bool:
        return not any(each.owed for each in talkers) and all(len(each.messages) >= said for each in talkers)

    await eventually(heard, 60)


async def history(reader: Client, room: str, length: int) -> list[Any]:
    """What the room's history tells, page by page, once the read model has come so far."""

    async def read() -> list[Any]:
        items, cursor = list[Any](), ""
        while True:
            answer = await reader.send("GET", f"{room}/messages?sort=oldest&limit=7{cursor}")
            assert answer.status_code == 200, answer.text
            items += answer.json()["items"]
            if answer.json()["next"] is None:
                return items
            cursor = f"&cursor={answer.json()['next']}"

    async def has_come() -> bool:
        return len(await read()) >= length

    await eventually(has_come, 60)
    return await read()


def everybody_heard_the_same(talkers: Sequence[Talker]) -> list[Any]:
    """Each place once and in order, each message where its ack said, each talker's in the order of speaking."""
    first = talkers[0]
    places = {message["client_id"]: message["seq"] for message in first.messages}
    for each in talkers:
        assert [frame["seq"] for frame in each.heard] == list(range(1, each.place + 1))
        assert each.heard == first.heard
        assert [(client_id, places[client_id]) for client_id, _ in each.acks] == each.acks
        assert [said["text"] for said in first.messages if said["from"] == str(each.who.id)] == each.said
    return first.messages


def port_of(api: Shop) -> int:
    port = api.http.base_url.port
    assert port is not None
    return port


async def test_whatever_dies_in_a_conversation_everybody_hears_each_message_once_and_in_order(
    settings: Settings, tmp_path: Path
) -> None:
    valkey = Valkey(tmp_path / "valkey")
    async with valkey.running() as redis_url, proxy_before(settings.database_url.get_secret_value()) as line:
        settings = settings.model_copy(update={"redis_url": SecretStr(redis_url), "log_level": "error"})
        by_the_line = settings.model_copy(update={"database_url": SecretStr(line.url)})
        await has_read_models(settings)
        async with (
            workers(settings),
            served(by_the_line, tmp_path / "doomed.log") as doomed,
            shop(settings) as other,
            shop(settings) as another,
        ):
            members = [await other.client(Role.CUSTOMER) for _ in range(TALKERS)]
            near, safe = [doomed.port, port_of(other)], [port_of(other)]
            async with talking(members, near, safe) as talkers:
                speak(talkers)
                await all_have_heard_all(talkers)

                line.keep_the_next_answer()
                speak(talkers)
                await asyncio.wait_for(line.kept.wait(), 30)
                assert any(each.owed for each in talkers[::2]), "something is stored, and nobody was told"
                doomed.process.kill()
                await all_have_heard_all(talkers)

                near[0] = port_of(another)
                for each in talkers[::2]:
                    each.hang_up()
                speak(talkers)
                await asyncio.wait_for(talkers[0].acknowledged.wait(), 30)
                valkey.process.send(signal.SIGKILL)
                await valkey.process.exited()
                await all_have_heard_all(talkers)
                speak(talkers)
                await all_have_heard_all(talkers)

                await valkey.start()
                speak(talkers)
                await all_have_heard_all(talkers)
                said = everybody_heard_the_same(talkers)
                assert await history(members[0], talkers[0].room, len(said)) == said
    assert [each.welcomed_at for each in talkers] == [{doomed.port, *near}, {*safe}] * (TALKERS // 2)
    assert any(each.again for each in talkers)

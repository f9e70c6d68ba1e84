"""News that access has ended: told by whoever stores it, heard by all who listen; of nothing else anybody is told."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from domain.accounts import ACCOUNTS, ChangeRoles, ChangeUsername, Role
from infra.concurrency.periodic import repeating
from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.startup import open_log
from infra.identity.access_tokens import Access
from infra.identity.revocations import Revocations, Stored
from infra.observability.metrics import new_registry
from infra.postgres.pool import Database
from infra.redis.keyspace import Keyspace
from infra.redis.push_channel import Channel
from infra.settings import Settings
from infra.write_side import open_bulk_write_side, open_write_side
from tests.support.builders import register_account
from tests.support.current_log import LOG
from tests.support.write_side import context, eventually

pytestmark = pytest.mark.anyio


@dataclass
class Heard:
    """What a process hears of others."""

    opened_times: int = 0
    messages: list[Mapping[str, Any]] = field(default_factory=list)

    def opened(self) -> None:
        self.opened_times += 1

    def announced(self, message: Mapping[str, Any]) -> None:
        self.messages.append(message)

    def lost(self) -> None:
        return


@dataclass(kw_only=True)
class Scene:
    """A process that writes, what it was told of its own commits, and another one that listens."""

    handler: CommandHandler
    bulk: CommandHandler
    own: list[Sequence[Stored]]
    heard: Heard
    channel: Channel
    redis: Redis

    async def account(self) -> UUID:
        account_id = uuid4()
        name = account_id.hex
        command = register_account(account_id=account_id, email=f"{name}@example.org", username=name)
        await self.handler.handle((ACCOUNTS, account_id), command, context())
        return account_id

    async def has_heard(self, number: int) -> None:
        """So many pieces of news and no more."""

        async def enough() -> bool:
            return len(self.heard.messages) >= number

        await eventually(enough)
        assert await self.channel.fence()
        assert len(self.heard.messages) == number


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        database = Database(pool_of(settings))
        stack.push_async_callback(database.close)
        log, own = await open_log(database, CODEC), list[Sequence[Stored]]()
        handler = open_write_side(stack, settings, database, log, new_registry(), on_ended=own.append)
        bulk = open_bulk_write_side(stack, settings, database, log)
        heard = Heard()
        channel = Channel(settings.redis_url, Keyspace.of(log.log_id).access, heard)
        await stack.enter_async_context(_kept(channel))
        redis = await stack.enter_async_context(Redis.from_url(settings.redis_url.get_secret_value()))
        yield Scene(handler=handler, bulk=bulk, own=own, heard=heard, channel=channel, redis=redis)


def _kept(channel: Channel) -> Any:
    return repeating("listen", channel.keep, 0.001)


async def test_each_event_that_ends_access_is_told_to_all_and_no_other_is(scene: Scene) -> None:
    assert await scene.channel.ready(5)
    account_id = await scene.account()
    name = ChangeUsername(username=uuid4().hex)
    await scene.handler.handle((ACCOUNTS, account_id), name, context())
    assert scene.own == []
    await scene.handler.handle((ACCOUNTS, account_id), ChangeRoles(roles=(Role.STAFF,)), context())
    ((stored,),) = scene.own
    assert (stored.account_id, stored.version, stored.type) == (account_id, 3, "account.roles_changed")
    await scene.has_heard(1)


async def test_what_is_written_in_bulk_is_told_as_well(scene: Scene) -> None:
    assert await scene.channel.ready(5)
    account_id = await scene.account()
    await scene.bulk.handle((ACCOUNTS, account_id), ChangeRoles(roles=(Role.STAFF,)), context())
    await scene.has_heard(1)


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
async def test_news_goes_on_when_a_connection_of_either_side_was_lost(scene: Scene, kind: str) -> None:
    assert await scene.channel.ready(5)
    account_id = await scene.account()
    await scene.handler.handle((ACCOUNTS, account_id), ChangeRoles(roles=(Role.STAFF,)), context())
    await scene.has_heard(1)
    times = scene.heard.opened_times
    await scene.redis.client_kill_filter(_type=kind, skipme=True)
    if kind == "pubsub":
        await eventually(lambda: _is(lambda: scene.heard.opened_times > times))
    await scene.handler.handle((ACCOUNTS, account_id), ChangeRoles(roles=(Role.ADMIN,)), context())
    await scene.has_heard(2)


async def _is(condition: Callable[[], bool]) -> bool:
    return condition()


async def test_a_process_that_is_told_something_or_may_have_missed_it_looks_at_once(settings: Settings) -> None:
    database = Database(pool_of(settings))
    connected, told = (Revocations(database, CurrentLog(LOG)) for _ in range(2))
    assert not connected._news.is_set()
    connected.opened()
    told.announced({})
    assert connected._news.is_set()
    assert told._news.is_set()
    await database.close()


async def test_what_a_process_stored_itself_counts_for_it_before_it_has_looked(settings: Settings) -> None:
    database, account_id, session_id = Database(pool_of(settings)), uuid4(), uuid4()
    revocations = Revocations(database, CurrentLog(LOG))
    told = b'{"account_id": "%b"}' % str(account_id).encode()
    access = Access(
        account_id=account_id,
        session_id=session_id,
        version=1,
        history=LOG.history,
        scopes=frozenset(),
        expires_at=0,
    )
    assert not revocations.ended(access)
    revocations.stored([Stored(account_id, 2, "account.deactivated", 1, told)])
    assert revocations.ended(access)
    await database.close()

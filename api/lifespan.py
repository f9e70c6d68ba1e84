"""The lifespan of the API process: opened when it starts, closed in reverse order when it ends."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from functools import partial
from typing import Any, Final
from uuid import UUID

from prometheus_client import CollectorRegistry, Gauge

from api.bootstrap import ensure_admin
from api.commands.dependencies import WriteSide
from api.dependencies import Opened, Shared
from api.http.places import Places
from api.http.upload_slots import UploadSlots
from api.images import ImageRewriter
from api.import_uploads import ImportUploads
from api.live.room_socket import Live
from api.live.sockets import EACH, MOST, OpenSockets
from api.queries.read_models import open_reads
from api.rate_limits import open_gates
from api.scopes import scopes_of
from api.security import Identity
from domain.accounts import ACCOUNTS
from infra.concurrency.background_tasks import Background
from infra.concurrency.cancellation import cancel_and_wait
from infra.concurrency.periodic import repeating
from infra.configs import pool_of, subscriptions_of
from infra.event_codec import CODEC
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.projections import standing
from infra.eventsourcing.read_cache import ReadReplica
from infra.eventsourcing.startup import open_log
from infra.eventsourcing.subscriptions import Subscriptions
from infra.identity import ended_long_ago
from infra.identity.access_tokens import Tokens
from infra.identity.api_keys import ApiKeys
from infra.identity.key_wrapping import KeyWrapping
from infra.identity.one_time_links import Links
from infra.identity.passwords import Passwords
from infra.identity.revocations import Revocations
from infra.identity.server_secret import ServerSecret
from infra.identity.sessions import Sessions
from infra.identity.signing_keys import SigningKeys
from infra.identity.stored_secrets import erase_clear
from infra.observability.health import Component
from infra.postgres.clock import PostgresClock
from infra.postgres.pool import Database
from infra.postgres.pool_metrics import pool_metrics
from infra.redis import reachable
from infra.redis.keyspace import Keyspace
from infra.redis.presence import Presence
from infra.redis.push_channel import Channel
from infra.redis.resilient_connection import kept
from infra.redis.topology.library import Client, open_redis
from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.product_images import ImageFiles
from infra.write_side import open_write_side
from projections.registry import PROJECTIONS

TELL_SECONDS: Final = 0.5
"""How soon others hear who has come into a room, or left it."""
ERASE_SECONDS: Final = 60.0
"""How often it is looked for secrets that lie in clear for a release that can be running no more."""


async def open_servers(stack: AsyncExitStack, settings: Settings, registry: CollectorRegistry) -> Opened:
    """Everything that endpoints ask for, as the lifespan's state."""
    wrapping = KeyWrapping(settings.encryption_keys)
    await reachable.warn(settings.redis_url)
    database = Database(pool_of(settings))
    stack.push_async_callback(database.close)
    pool_metrics(registry).watch("api", database)
    log = await open_log(database, CODEC)
    current = CurrentLog.behind(database, log)
    clock = PostgresClock(database)
    await clock.now()
    await stack.enter_async_context(clock.following())
    redis = open_redis(settings.redis_url)
    stack.push_async_callback(redis.aclose)
    revocations = Revocations(database, current)
    handler = open_write_side(stack, settings, database, log, registry, on_ended=revocations.stored)
    storage = open_storage(settings)
    rewriter = stack.enter_context(closing(ImageRewriter()))
    background = Background()
    stack.push_async_callback(background.close)
    secret = await _server_secret(stack, database, wrapping)
    signing_keys = SigningKeys(database, wrapping)
    identity = await _identity(stack, settings, signing_keys, clock, database, current, handler, revocations)
    passwords = Passwords()
    await ensure_admin(settings, database, handler, passwords)
    reads = await open_reads(stack, settings, registry, database, current)
    subscriptions = Subscriptions(subscriptions_of(settings), database, current, registry)
    await stack.enter_async_context(subscriptions.running())
    presence = Presence(redis, Keyspace.of(log.log_id))
    stack.push_async_callback(presence.close)
    await stack.enter_async_context(repeating("presence", presence.beat, TELL_SECONDS))
    shared = Shared(
        settings=settings,
        registry=registry,
        components=(
            *_components(database, redis, storage, signing_keys),
            *_replica_component(reads.state["read_side"].replica),
        ),
        database=database,
        log=log,
        current_log=current,
        clock=clock,
        image_files=ImageFiles(database, storage),
        subscriptions=subscriptions,
        presence=presence,
        event_streams=Places(
            Gauge("weir_event_streams_open", "Event streams that are open.", registry=registry),
            most=settings.event_streams_most,
            each=settings.event_streams_each,
        ),
    )
    write_side = WriteSide(
        handler=handler,
        secret=secret,
        passwords=passwords,
        sessions=Sessions(database, secret),
        links=Links(database, secret),
        signing_keys=signing_keys,
        background=background,
        intake=ImportUploads(database, storage),
        uploads=UploadSlots(),
        rewriter=rewriter,
    )
    live = Live(
        identity=identity,
        handler=handler,
        secret=secret,
        log=current,
        subscriptions=subscriptions,
        presence=presence,
        places=Places(
            Gauge("weir_room_sockets_open", "Sockets that are open in rooms.", registry=registry), most=MOST, each=EACH
        ),
        sockets=OpenSockets(),
    )
    await stack.enter_async_context(repeating("look at sockets", live.sockets.look, live.pace.look))
    return Opened(
        state={"shared": shared, "identity": identity, "write_side": write_side, "live": live, **reads.state},
        hot=reads.hot,
        gates=await open_gates(stack, settings, Keyspace.of(log.log_id), secret),
        ending=subscriptions.close,
    )


async def _server_secret(stack: AsyncExitStack, database: Database, wrapping: KeyWrapping) -> ServerSecret:
    """The secret that all processes share; while they serve, none lies in clear for long."""
    secret = ServerSecret(database, wrapping)
    await secret.load()
    await erase_clear(database)
    await stack.enter_async_context(repeating("erase secrets in clear", partial(erase_clear, database), ERASE_SECONDS))
    return secret


async def _identity(
    stack: AsyncExitStack,
    settings: Settings,
    signing_keys: SigningKeys,
    clock: PostgresClock,
    database: Database,
    current: CurrentLog,
    handler: CommandHandler,
    revocations: Revocations,
) -> Identity:
    """What tells who asks: tokens and the keys that sign them, API keys, and what has ended before its time."""
    api_keys = ApiKeys(database, partial(_allowed, database, handler))
    stack.push_async_callback(api_keys.close)
    await revocations.look()
    await stack.enter_async_context(revocations.following())
    news = Channel(settings.redis_url, Keyspace.of(current.log.log_id).access, revocations)
    stack.push_async_callback(cancel_and_wait, asyncio.create_task(kept(news.keep)))
    await stack.enter_async_context(signing_keys.following())
    tokens = Tokens(
        signing_keys,
        current,
        now=clock.told,
        issuer=settings.token_issuer,
        seconds=settings.access_token_seconds,
    )
    return Identity(tokens=tokens, api_keys=api_keys, revocations=revocations)


async def _allowed(
    database: Database, handler: CommandHandler, account_id: UUID, key_id: UUID
) -> tuple[frozenset[str], int] | None:
    """What an account may do now, through an API key of its own. The log tells of a key's end before its row does."""
    account, _ = await handler.now(ACCOUNTS, account_id)
    if account is None or not account.active or account.endings.of(key_id):
        return None
    if await ended_long_ago.key_revoked(database, account, key_id):
        return None
    return scopes_of(account.roles), account.version


def _replica_component(replica: ReadReplica | None) -> tuple[Component, ...]:
    return () if replica is None else (Component(name="read_replica", check=replica.report, needed=False),)


def _components(
    database: Database, redis: Client, storage: Storage, signing_keys: SigningKeys
) -> tuple[Component, ...]:
    async def postgres() -> None:
        await database.check()

    async def valkey() -> None:
        await reachable.take_write(redis)

    async def keys() -> None:
        await signing_keys.signing()

    async def files() -> None:
        await storage.open("health")

    async def read_models() -> Mapping[str, Any]:
        return await standing.report(database, PROJECTIONS)

    return (
        Component(name="postgres", check=postgres),
        Component(name="signing_keys", check=keys),
        Component(name="redis", check=valkey, needed=False),
        Component(name="storage", check=files, needed=False),
        Component(name="read_models", check=read_models, needed=False),
    )

"""Fulfilling a wish: the rebuild in a process of its own, whoever has claimed it, a worker or the command itself.

It tells how far it is about twice a second, and with that holds the wish; until it does, who has claimed it holds it:
on a busy machine a process may take longer to start than a lease is long. Whatever ends this process, or the one that
waits for it, ends all of it; the next that claims the wish begins anew.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Final

from infra.concurrency.cancellation import cancel_and_wait, carried_through
from infra.concurrency.own_process import CarryOut, Failed, in_own_process
from infra.configs import worker_pool_of
from infra.errors import Fenced
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.projections.fold import describe
from infra.eventsourcing.projections.generations import install
from infra.eventsourcing.projections.rebuild import requests
from infra.eventsourcing.projections.rebuild.build_processes import Builder, finished, started
from infra.eventsourcing.projections.rebuild.new_generation import Building, Busy, begin
from infra.eventsourcing.projections.rebuild.partitions import Share, shares
from infra.eventsourcing.projections.rebuild.requests import MOST_FAILURES, Claimed, Report
from infra.eventsourcing.projections.rebuild.switchover import Switched, announce, finish
from infra.observability.logging import logging_to
from infra.postgres.connection import answering, close
from infra.postgres.due_work import persisted
from infra.postgres.errors import PASSING
from infra.postgres.pool import Connection, Database, connect
from infra.settings import Settings
from projections.registry import PROJECTIONS

TELL_SECONDS: Final = 0.4
SETTLE_SECONDS: Final = 60.0
GIVE_BACK_SECONDS: Final = 2.0
HOLD_SECONDS: Final = 3.0
START_SECONDS: Final = 60.0
"""A process that has told nothing by then is given up on: others may take the wish when its lease is over."""


async def fulfil(settings: Settings, database: Database, wish: Claimed, carry_out: CarryOut = in_own_process) -> None:
    """Carries a claimed wish out, and settles it. Given up in the middle, it gives the wish back."""
    if wish.failures > MOST_FAILURES:
        await requests.given_up(database, wish, "whoever was at it died every time")
        return
    try:
        await _held_at_first(settings, database, wish, carry_out)
    except Failed as failed:
        await requests.failed(database, wish, f"its process was ended by {failed}")
    except asyncio.CancelledError:
        with suppress(*PASSING):  # then its lease runs out
            await carried_through(_given_back(database, wish))
        raise


async def _given_back(database: Database, wish: Claimed) -> None:
    async with asyncio.timeout(GIVE_BACK_SECONDS):
        await requests.give_back(database, wish)


async def _held_at_first(settings: Settings, database: Database, wish: Claimed, carry_out: CarryOut) -> None:
    holding = asyncio.create_task(hold_until_told(database, wish))
    try:
        await carry_out(_fulfil, settings, wish)
    finally:
        await cancel_and_wait(holding)  # before the wish is given back or put off: nobody holds it then


async def hold_until_told(database: Database, wish: Claimed) -> None:
    """Keeps the wish from others while its process starts."""
    for _ in range(int(START_SECONDS / HOLD_SECONDS)):
        with suppress(*PASSING):  # then its lease runs out
            if not await requests.starting(database, wish):
                return
        await asyncio.sleep(HOLD_SECONDS)


def _fulfil(settings: Settings, wish: Claimed) -> None:
    started_at = monotonic()
    # The loop stands still while the builders are forked, and its one connection holds the right to rebuild.
    with asyncio.Runner() as runner:
        try:
            session, building, parts = runner.run(_begin(settings, wish))
            try:
                with started(settings.direct_url, building, parts) as builders:
                    runner.run(_go_on(settings, wish, building, builders, session, started_at))
            finally:
                runner.run(close(session))
        except Fenced:
            return  # another is at it
        except Exception as error:
            runner.run(_fail(settings, wish, error))


async def _begin(settings: Settings, wish: Claimed) -> tuple[Connection, Building, Sequence[Share]]:
    session = await connect(settings.direct_url)
    try:
        with answering(session, writes=False):  # what it lays down is nobody's until the switch
            await install(session, PROJECTIONS)
            building = await begin(session, await identify(session, CODEC), PROJECTIONS[wish.projection])
            return session, building, await shares(session, building, os.cpu_count() or 1)
    except BaseException:
        await close(session)
        raise


async def _go_on(
    settings: Settings,
    wish: Claimed,
    building: Building,
    builders: Sequence[Builder],
    session: Connection,
    started_at: float,
) -> None:
    """From the first share to the switch, and the word that it is done."""
    database = Database(worker_pool_of(settings))
    with logging_to(settings.model_copy(update={"log_level": "warning"}), descriptor=2):
        try:
            switched = await _held(settings, database, wish, building, builders, session)
            await announce(settings.redis_url, building)
            report = _report(switched, builders, monotonic() - started_at)
            await persisted(lambda: requests.fulfilled(database, wish, report), SETTLE_SECONDS)
        finally:
            await database.close()


async def _held(
    settings: Settings,
    database: Database,
    wish: Claimed,
    building: Building,
    builders: Sequence[Builder],
    session: Connection,
) -> Switched:
    """Builds and switches, while the wish is held. Raises :class:`~infra.errors.Fenced` where it is lost."""
    switching = asyncio.create_task(_built_and_switched(settings, building, builders, session))
    telling = asyncio.create_task(_keep_telling(database, wish, building, builders))
    try:
        await asyncio.wait({switching, telling}, return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            telling.result()
        return await switching
    finally:
        await cancel_and_wait(switching, telling)


async def _built_and_switched(
    settings: Settings, building: Building, builders: Sequence[Builder], session: Connection
) -> Switched:
    await finished(builders)
    with answering(session, writes=True):
        return await finish(session, building, settings.direct_url)


async def _keep_telling(database: Database, wish: Claimed, building: Building, builders: Sequence[Builder]) -> None:
    while True:
        read, passed = sum(each.told.read for each in builders), sum(each.told.passed for each in builders)
        with suppress(*PASSING):  # those who build will find out themselves
            if not await requests.tell(database, wish, building.generation, read, passed, building.head):
                raise Fenced(wish.projection, building.generation)
        await asyncio.sleep(TELL_SECONDS)


def _report(switched: Switched, builders: Sequence[Builder], seconds: float) -> Report:
    return Report(
        generation=switched.generation,
        retired=switched.retired,
        rows=sum(each.told.rows for each in builders),
        read=sum(each.told.read for each in builders),
        caught_up=switched.caught_up,
        parked=switched.parked,
        seconds=seconds,
    )


async def _fail(settings: Settings, wish: Claimed, error: Exception) -> None:
    """What may be over by the next time puts the wish off; anything else would be so again."""
    database = Database(worker_pool_of(settings))
    text = f"{wish.projection} is being rebuilt already" if isinstance(error, Busy) else describe(error)
    settle = requests.failed if isinstance(error, (*PASSING, Busy)) else requests.given_up
    try:
        await persisted(lambda: settle(database, wish, text), SETTLE_SECONDS)
    finally:
        await database.close()

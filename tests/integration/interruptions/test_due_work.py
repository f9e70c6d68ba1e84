"""Due work whose worker is told to stop at any wait: another does the rest of it, and nothing of it twice."""

from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest

from infra import imports
from infra.eventsourcing.process_managers import timer_store
from infra.mail import outbox as mail_outbox
from infra.payments import refund_outbox
from infra.postgres.due_work import DueWork
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.integration.streams.test_timers import OVER
from tests.support.importing import importing, row, written
from tests.support.interruption import Moment, at_each_wait, leftovers
from tests.support.mail_office import mail_office
from tests.support.refunding import refunding
from tests.support.timing import expiry, timing
from tests.support.write_side import WriteSide

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("moment", Moment)]


async def _leases_are_over(database: Database, work: DueWork) -> None:
    due = work.due
    await database.execute(
        f"UPDATE {work.table.name} SET {due} = least({due}, clock_timestamp()), leased_until = NULL"
        " WHERE leased_until IS NOT NULL"
    )


async def test_a_mail_is_sent_and_sent_again_only_where_its_answer_was_lost(settings: Settings, moment: Moment) -> None:
    async with mail_office(settings) as office:
        post = office.post()
        mails = [await office.write(number) for number in range(20)]
        async with leftovers(office.database) as left:
            async for cut in at_each_wait(lambda place: post.deliver(mails[place]), moment):
                await left.none()
                await _leases_are_over(office.database, mail_outbox.WORK)
                await post.deliver(mails[cut.place])
                assert (await office.row(mails[cut.place]))["state"] == "sent", cut
        sent = Counter(each.message["Message-ID"] for each in office.stub.taken)
        assert [number for number in sent.values() if number > 1] in ([], [2])


async def test_money_goes_back_once_and_its_order_hears_of_it_once(
    settings: Settings, ours: WriteSide, tmp_path: Path, moment: Moment
) -> None:
    async with refunding(settings, ours, tmp_path) as till:
        orders = [await till.owe(f"pay-{number}") for number in range(20)]
        worker = till.worker()
        async with leftovers(till.database) as left:
            async for cut in at_each_wait(lambda place: worker.see_to(f"pay-{place}"), moment):
                await left.none()
                await _leases_are_over(till.database, refund_outbox.WORK)
                await worker.see_to(f"pay-{cut.place}")
                assert await till.state(f"pay-{cut.place}") == "recorded", cut
                assert (await till.told(orders[cut.place])).count("money_returned") == 1
        given = [each.asked[0] for each in till.desk.given]
        assert sorted(given) == sorted(set(given))


async def test_a_timer_rings_once(settings: Settings, ours: WriteSide, moment: Moment) -> None:
    async with mail_office(settings) as office, timing(office, ours) as scene:
        orders = [await scene.order(OVER) for _ in range(40)]
        await scene.follow()
        keeper = scene.keeper()
        async with leftovers(ours.database) as left:
            async for cut in at_each_wait(lambda place: keeper.ring(expiry(orders[place])), moment):
                await left.none()
                await _leases_are_over(ours.database, timer_store.WORK)
                await keeper.ring(expiry(orders[cut.place]))
                assert await scene.told(orders[cut.place]) == ["placed", "cancelled"], cut
                assert await scene.timers(orders[cut.place]) == set()


async def test_every_row_of_a_file_becomes_one_product(settings: Settings, moment: Moment) -> None:
    async with importing(settings) as scene:

        async def send(number: int) -> UUID:
            return await scene.upload(written(row(10 * number + each) for each in range(3)))

        sent = dict[int, UUID]()
        sent[1] = await send(1)
        async with leftovers(scene.importer._database) as left:
            async for cut in at_each_wait(lambda place: scene.importer.turn(sent[place]), moment):
                await left.none()
                await _leases_are_over(scene.database, imports.WORK)
                assert (await scene.done(sent[cut.place]))["done"] == 3
                sent[cut.place + 1] = await send(cut.place + 1)
        assert len(await scene.products()) == 3 * (len(sent) - 1)

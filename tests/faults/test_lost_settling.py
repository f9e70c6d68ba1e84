"""The line breaks behind the commit of a claim, or of what came of one: the work is done once, and not forgotten."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr

from infra.configs import pool_of
from infra.errors import OutcomeUnknown
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.claiming import claiming
from tests.support.importing import importing, row, written
from tests.support.mail_office import Office, mail_office
from tests.support.proxy import Proxy, proxy_before
from tests.support.refunding import Till, refunding
from tests.support.timing import expiry
from tests.support.write_side import eventually, write_side

pytestmark = pytest.mark.anyio

CLAIM = b"WITH free AS"


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    async with proxy_before(database_url) as opened:
        yield opened


@pytest.fixture
def bad_line(settings: Settings, proxy: Proxy) -> Settings:
    """The settings of a process behind it."""
    return settings.model_copy(update={"database_url": SecretStr(proxy.url)})


@pytest.fixture
async def behind(bad_line: Settings) -> AsyncIterator[Database]:
    """The database of a worker behind the bad line."""
    database = Database(pool_of(bad_line))
    yield database
    await database.close()


@pytest.fixture
async def office(settings: Settings) -> AsyncIterator[Office]:
    async with mail_office(settings) as opened:
        yield opened


@pytest.fixture
async def till(settings: Settings, database_url: str, tmp_path: Path) -> AsyncIterator[Till]:
    async with write_side(database_url) as side, refunding(settings, side, tmp_path) as opened:
        yield opened


async def test_what_was_claimed_for_nobody_is_due_again_when_its_lease_is_over(
    office: Office, proxy: Proxy, behind: Database
) -> None:
    mail_id = await office.write()
    proxy.lose_the_next_commit(CLAIM)
    with pytest.raises(OutcomeUnknown):
        await office.post(database=behind).deliver(mail_id)
    assert await office.post().deliver(mail_id) is None, "the lease of nobody holds"
    await office.let_time_pass()
    assert await office.post().deliver(mail_id) == "sent"
    assert (proxy.hits, len(office.stub.seen)) == (1, 1)


async def test_a_loop_goes_on_after_a_claim_whose_answer_is_lost(
    office: Office, proxy: Proxy, behind: Database
) -> None:
    lost, post = await office.write(), office.post(database=behind)
    proxy.lose_the_next_commit(CLAIM)
    async with claiming(post, behind):
        await eventually(lambda: _is(office, lost, "sending"), 5)
        later = await office.write(2)
        await eventually(lambda: _is(office, later, "sent"), 5)
    assert (proxy.hits, (await office.row(lost))["state"], len(office.stub.seen)) == (1, "sending", 1)


async def test_a_mail_whose_settling_may_be_stored_is_settled_and_sent_once(
    office: Office, proxy: Proxy, behind: Database
) -> None:
    mail_id = await office.write()
    proxy.lose_the_next_commit(b"WITH held AS")
    assert await office.post(database=behind).deliver(mail_id) == "sent"
    await office.let_time_pass()
    assert await office.post().deliver(mail_id) is None
    assert (proxy.hits, (await office.row(mail_id))["state"], len(office.stub.seen)) == (1, "sent", 1)


@pytest.mark.parametrize("write", [b"SET returned_at=clock_timestamp()", b"recorded_at=clock_timestamp()"])
async def test_money_of_which_nobody_knows_whether_it_is_noted_goes_back_once_and_its_order_is_told(
    till: Till, proxy: Proxy, behind: Database, write: bytes
) -> None:
    order_id = await till.owe("pay-1")
    proxy.lose_the_next_commit(write)
    async with claiming(till.worker(database=behind), behind):
        await eventually(lambda: _is_recorded(till), 10)
    assert (proxy.hits, len(till.desk.given), len(till.desk.calls)) == (1, 1, 1)
    assert (await till.told(order_id)).count("money_returned") == 1


async def test_a_refusal_of_which_nobody_knows_whether_it_is_noted_is_noted(
    till: Till, proxy: Proxy, behind: Database
) -> None:
    await till.owe("pay-1")
    till.desk.tell(kind="fail", status=422, code="account-closed")
    proxy.lose_the_next_commit(b"refused_at=clock_timestamp()")
    await till.worker(database=behind).see_to("pay-1")
    assert (proxy.hits, await till.state(), len(till.desk.calls)) == (1, "refused", 1)


async def test_a_timer_whose_ring_may_be_stored_ends_its_order_once(till: Till, proxy: Proxy, behind: Database) -> None:
    scene = till.scene
    order_id = await scene.order(timedelta(seconds=-1))
    await scene.follow()
    keeper = scene.keeper(database=behind)
    proxy.lose_the_next_commit(b"BEGIN")
    async with claiming(keeper, behind):
        await eventually(lambda: _has_ended(till, order_id), 10)
    assert proxy.hits == 1
    assert await scene.told(order_id) == ["placed", "cancelled"]
    assert not await scene.keeper().ring(expiry(order_id))


@pytest.mark.parametrize(
    "write", [b"UPDATE imports SET total=", b"UPDATE imports SET done=", b"SET state=$1::VARCHAR, finished_at"]
)
async def test_an_import_whose_progress_may_be_stored_adds_each_product_once(
    bad_line: Settings, proxy: Proxy, write: bytes
) -> None:
    async with importing(bad_line) as scene:
        import_id = await scene.upload(written(row(number) for number in range(3)))
        proxy.lose_the_next_commit(write)
        async with claiming(scene.importer, scene.database):
            await eventually(lambda: _is_finished(scene.database, import_id), 10)
        assert proxy.hits == 1
        seen = await scene.seen(import_id)
        assert (seen["done"], seen["failed"]) == (3, 0)
        assert await scene.products() == {f"SKU-{number}": 5 for number in range(3)}


async def _is(office: Office, mail_id: UUID, state: str) -> bool:
    return bool((await office.row(mail_id))["state"] == state)


async def _is_recorded(till: Till) -> bool:
    return await till.state() == "recorded"


async def _has_ended(till: Till, order_id: UUID) -> bool:
    return (await till.told(order_id))[-1] == "cancelled" and not await till.scene.timers(order_id)


async def _is_finished(database: Database, import_id: UUID) -> bool:
    return bool(await database.fetch("SELECT FROM imports WHERE import_id = $1 AND state = 'finished'", import_id))

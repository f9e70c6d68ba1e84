"""Lists that are read while things befall the servers: each shows what its token asks for, over each topology."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.customers import PATIENCE, Shoppers
from tests.faults.ground import Ground
from tests.faults.test_kills import a_shop, settled
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


@dataclass
class Reader:
    """The first customer, who looks at the own orders after each, and at the products in between."""

    shoppers: Shoppers
    wrong: list[str] = field(default_factory=list)
    paid: str = ""
    token: str = ""
    shown: int = 0
    open: bool = True

    async def read(self) -> None:
        while self.open:
            paid = await self.shoppers.order_and_pay()
            self.paid, self.token = paid.json()["id"], paid.headers["Consistency-Token"]
            await self.look()

    async def look(self) -> None:
        """Whether the newest order is shown as who paid for it was told."""
        listed = await self._listed(self.token)
        if listed.get(self.paid) != "paid":
            self.wrong.append(f"order {self.paid} is {listed.get(self.paid)} to who was told that it is paid")
        self.shown += 1

    async def is_served_by_replica(self) -> bool:
        """At the latest when nobody writes any more and it has heard of everything."""
        await self.look()
        return await served_by_replica(self.shoppers) > 0

    async def goes_on(self) -> None:
        """Returns when there was something to be shown since, and it was: workers that a fault has ended are back."""
        before = self.shown

        async def more() -> bool:
            return self.shown > before + 1

        await eventually(more, PATIENCE)

    async def _listed(self, token: str) -> dict[str, str]:
        async with asyncio.timeout(PATIENCE):
            while True:
                if (listed := await self.shoppers.orders_of_first(token)) is not None:
                    return listed
                await asyncio.sleep(0.05)


async def test_every_list_shows_what_its_token_asks_for_and_the_books_are_right(tmp_path: Path, ground: Ground) -> None:
    async with a_shop(tmp_path, customers=3, ground=ground) as (stack, shoppers):
        reader = Reader(shoppers)
        shopping, reading = asyncio.create_task(shoppers.shop()), asyncio.create_task(reader.read())
        for befall in ground.befalls.values():
            await reader.goes_on()
            await befall(stack)
        await reader.goes_on()
        reader.open = False
        shoppers.stop()
        await asyncio.gather(shopping, reading)
        if "DATABASE_READ_URL" in ground.environment:
            await eventually(reader.is_served_by_replica, PATIENCE)
        assert reader.wrong == []
        assert await settled(stack, shoppers) == []


async def served_by_replica(shoppers: Shoppers) -> float:
    """How many reads the replica has served."""
    told = (await shoppers.http.get("/metrics")).text
    (count,) = [line for line in told.splitlines() if line.startswith('weir_replica_reads_total{outcome="served"}')]
    return float(count.split()[-1])

"""How long a read may wait, whatever it waits for."""

from dataclasses import dataclass, field
from typing import cast

import pytest

from api.queries.dashboard import MODELS
from api.queries.lists.page_reader import Pages
from infra.errors import NotYetVisible
from infra.eventsourcing.consistency_token import Needs
from infra.eventsourcing.read_cache import Reads
from infra.postgres.pool import Database

pytestmark = pytest.mark.anyio


@dataclass
class Late:
    """Read models, each of which takes a while to show what is asked for, on a clock of their own."""

    takes: float
    now: float = 100.0
    replica: None = None
    allowed: list[float] = field(default_factory=list)

    async def see(self, _name: str, _needs: Needs, seconds: float) -> None:
        self.allowed.append(seconds)
        if seconds < self.takes:
            raise NotYetVisible
        self.now += self.takes


async def test_all_that_a_read_waits_for_shares_one_promise() -> None:
    late = Late(takes=0.75)
    pages = Pages(cast(Database, None), cast(Reads, late), at_once=1, clock=lambda: late.now)
    with pytest.raises(NotYetVisible):
        await pages.over(MODELS, lambda _: ("SELECT 1",), needs={0: 1}, wait=2.0)
    assert late.allowed == [2.0, 1.25, 0.5]

"""What tests of the whole system may ask for."""

from collections.abc import AsyncIterator

import pytest

from tests.faults.burdens import Burdened, Unburdened
from tests.faults.ground import OWN, Ground
from tests.support.patience import patient
from tests.support.proxy import proxy_before

__all__ = ["patient"]


@pytest.fixture(params=["unburdened", "burdened"])
async def burdens(request: pytest.FixtureRequest) -> AsyncIterator[Unburdened]:
    """The test is run twice: once with nothing but its faults, and once with all the burdens, all the while."""
    if request.param == "unburdened":
        yield Unburdened()
        return
    async with proxy_before("smtp://127.0.0.1") as line:
        yield Burdened(line)


@pytest.fixture
def ground() -> Ground:
    """What the whole system stands on: `make grow` has others."""
    return OWN

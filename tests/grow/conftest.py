"""Each test of this folder once over each topology, and the table of what came of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from cli.supervisor import Options, Stack
from tests.faults.burdens import Unburdened
from tests.faults.ground import Ground
from tests.grow.table import table
from tests.grow.topologies import LOSSY, TOPOLOGIES

ALL: Final = {**TOPOLOGIES, **LOSSY}
_ROW: Final = "topology"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", type=Path, help="a file that is to have the table, too")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, below all else."""
    reports = [
        each for group in terminalreporter.stats.values() for each in group if isinstance(each, pytest.TestReport)
    ]
    drawn = table([(str(dict(each.user_properties).get(_ROW, "")), each) for each in reports])
    terminalreporter.write(f"\n{drawn}")
    if (path := config.getoption("--table")) is not None:
        path.write_text(drawn)


@pytest.fixture(autouse=True)
def _in_the_table(request: pytest.FixtureRequest, topology: str) -> None:
    request.node.user_properties.append((_ROW, topology))


@pytest.fixture(scope="module", params=[*TOPOLOGIES], ids=lambda name: name.replace(" ", "-"))
def topology(request: pytest.FixtureRequest) -> str:
    """The row of the matrix."""
    return str(request.param)


@pytest.fixture
async def ground(topology: str, tmp_path: Path) -> AsyncIterator[Ground]:
    """Servers of its own for one test."""
    async with ALL[topology](tmp_path / "servers") as standing:
        yield standing


@pytest.fixture
def burdens() -> Unburdened:
    """None but the faults: what Redis and the mail server are burdened with, the tests of one of each have seen."""
    return Unburdened()


@pytest.fixture(scope="module")
async def stack(topology: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The whole system over the topology, shared by tests of a journey."""
    directory = tmp_path_factory.mktemp("grown")
    async with ALL[topology](directory / "servers") as standing:
        options = Options(
            directory=directory / "shop",
            database_url=standing.database_url,
            redis_url=standing.redis_url,
            ready_seconds=240,
        )
        with standing.named():
            async with Stack(options) as running:
                yield running

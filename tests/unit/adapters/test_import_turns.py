"""What a file is made of does not say how long others wait for the loop: they have it between two rows."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, cast
from uuid import uuid4

import pytest

from domain.kernel.unit_of_work import StreamRef
from infra.concurrency.time_slice import TimeSlice
from infra.eventsourcing.commands.bulk_create import CreateRequest
from infra.eventsourcing.commands.handler import CommandHandler
from infra.imports import Claimed, Media
from infra.storage import Blob, Storage
from workers.imports.executor import AT_A_TIME, RowExecutor
from workers.imports.file_reader import CHUNK, count_rows, open_file, rows_left
from workers.imports.record_splitter import Record
from workers.imports.row_parser import csv_reader

pytestmark = pytest.mark.anyio

AT_ONCE = 0.0
"""Seconds of a slice that is over as soon as it begins."""
HEADER = b"sku,name,price,currency\n"


class OneFile:
    """A storage whose bytes are there at once: who reads them waits for nothing, in which others had the loop."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def open(self, key: str, *, start: int = 0) -> Blob:  # noqa: ARG002
        rest = self._content[start:]
        return Blob(size=len(rest), etag="", content_type="", chunks=self._parts(rest))

    async def _parts(self, rest: bytes) -> AsyncIterator[bytes]:
        yield rest


def claimed(media: Media = "csv") -> Claimed:
    return Claimed(uuid4(), uuid4(), media, None, 1, 1, None, 1, 0, 0)


class Others:
    """Whoever else wants the loop, and how often they had it."""

    def __init__(self) -> None:
        self.turns = 0

    async def run(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)

    async def during(self, work: Any) -> Any:
        """What the work comes to, with others beside it."""
        running = asyncio.create_task(self.run())
        try:
            return await work
        finally:
            running.cancel()


FILES: dict[str, tuple[bytes, Media]] = {
    "rows": (HEADER + b"a,b,1.00,EUR\n" * 300, "csv"),
    "rows of a letter": (HEADER + b"a\n" * 300, "csv"),
    "rows of nothing but commas": (HEADER + b",,,\n" * 300, "csv"),
    "quotes that are never closed": (HEADER + b'"a"b\n' * 300, "csv"),
    "lines of JSON": (b"{}\n" * 300, "ndjson"),
}


@pytest.mark.parametrize(("content", "media"), FILES.values(), ids=FILES.keys())
async def test_others_have_the_loop_while_the_rows_of_a_part_are_counted_and_read(content: bytes, media: Media) -> None:
    storage, mine, others = cast(Storage, OneFile(content)), claimed(media), Others()
    assert CHUNK > 300
    opened = await open_file(storage, mine, TimeSlice(AT_ONCE))
    assert await others.during(count_rows(storage, mine, opened, TimeSlice(AT_ONCE))) == 300
    assert others.turns > 290

    async def rest() -> int:
        async with rows_left(storage, mine, opened, TimeSlice(AT_ONCE)) as chunks:
            return sum([len(chunk) async for chunk in chunks])

    before = others.turns
    assert await others.during(rest()) == 300
    assert others.turns - before > 290


class Groups:
    """Commands, of which only the sizes of their groups are kept."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def create_many(
        self,
        groups: Iterable[Sequence[CreateRequest]],
        *,
        resting_on: Sequence[StreamRef] = (),  # noqa: ARG002
    ) -> Sequence[Exception | None]:
        self.sizes += [len(group) for group in groups]
        return [None] * sum(self.sizes)


@pytest.mark.parametrize(
    ("row", "seconds", "sizes"),
    [
        ("a,b,1.00,EUR", 3600.0, [AT_A_TIME, AT_A_TIME, 8]),
        ("a,b,1.00,EUR", AT_ONCE, [1] * 40),
        ("a,b", AT_ONCE, [0] * 40),
        (",,,", AT_ONCE, [0] * 40),
    ],
)
async def test_rows_become_commands_some_at_a_time_and_one_by_one_where_each_takes_long(
    row: str, seconds: float, sizes: Sequence[int]
) -> None:
    commands = Groups()
    executor = RowExecutor(cast(CommandHandler, commands), claimed(), slices=seconds)
    records = [Record(line, row.encode(), line, line + 1) for line in range(2, 42)]
    header = Record(1, HEADER, len(HEADER), 2)
    carried = await executor.run(csv_reader(header), records)
    assert commands.sizes == sizes
    assert (carried.skipped, carried.done, len(carried.faults)) == {
        "a,b,1.00,EUR": (0, 40, 0),
        "a,b": (0, 0, 40),
        ",,,": (40, 0, 0),
    }[row]

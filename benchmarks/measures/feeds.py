"""The log as server-sent events: how soon after its commit an event is at each of many readers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.load.feed_readers import Feed
from benchmarks.measure import WEIR, Bar, Lap, Measure
from benchmarks.setting.open_files import insist_on_sockets
from benchmarks.setting.shop import signed_in

_READERS = 200
_RATE = 500


@asynccontextmanager
async def _opened(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    insist_on_sockets(_READERS)
    async with (
        bench.databases.fresh(migrated=True) as database,
        bench.weir_server(database) as port,
        bench.weir_worker("relay", database),
    ):
        token = await signed_in(port)

        async def lap(_number: int) -> Figures:
            feed = Feed(
                port=port,
                token=token,
                database=database,
                redis=bench.redis,
                readers=_READERS,
                rate=_RATE,
                seconds=bench.options.seconds,
            )
            return await bench.client("benchmarks.load.feed_readers", feed)

        yield {WEIR: lap}


TELLING = Measure(
    name="feed",
    unit="events/s",
    open=_opened,
    bars=(Bar(what=f"the log by SSE, {_READERS} readers, {_RATE} events/s: commit → the event at each", p99_ms=100),),
)

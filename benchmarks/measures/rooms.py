"""Rooms over WebSocket: what an idle socket takes of memory, and how soon a room full of listeners hears a message."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.load.idlers import Idling
from benchmarks.load.listeners import Talk
from benchmarks.measure import WEIR, Bar, Lap, Measure
from benchmarks.setting.open_files import insist_on_sockets
from benchmarks.setting.rooms import fill, room_for

_IDLE = 2_000
_WARM = 100
_LISTENERS = 500
_DEAF = _LISTENERS // 20
_RATE = 50
_PAST = 450
"""Messages of twelve kilobytes: more than the buffers between a server and a client that never reads take."""
_WITH_DEAF: Final = "Weir, 5 % never read"
_LONGEST_LAP = 5.0
"""Whoever takes nothing for ten seconds is closed: they are to be there for as long as a lap lasts."""


@asynccontextmanager
async def _with_idlers(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    insist_on_sockets(_WARM + _IDLE)
    async with bench.databases.fresh(migrated=True) as database:
        async with bench.weir_server(database) as port:
            room = await room_for(port, _WARM + _IDLE)

        async def lap(_number: int) -> Figures:
            async with bench.weir_server(database) as port:  # memory that others have left would not be counted
                idling = Idling(port=port, room=room.id, tokens=room.tokens, warm=_WARM, sockets=_IDLE)
                return await bench.client("benchmarks.load.idlers", idling)

        yield {WEIR: lap}


@asynccontextmanager
async def _with_listeners(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    insist_on_sockets(_LISTENERS)
    async with (
        bench.databases.fresh(migrated=True) as database,
        bench.weir_server(database) as port,
        bench.weir_worker("relay", database),
    ):
        room = await room_for(port, _LISTENERS)
        await fill(port, room, _PAST)

        def side(deaf: int) -> Lap:
            async def lap(_number: int) -> Figures:
                talk = Talk(
                    port=port,
                    room=room.id,
                    tokens=room.tokens,
                    listeners=_LISTENERS,
                    deaf=deaf,
                    rate=_RATE,
                    seconds=min(bench.options.seconds, _LONGEST_LAP),
                )
                return await bench.client("benchmarks.load.listeners", talk)

            return lap

        yield {WEIR: side(0), _WITH_DEAF: side(_DEAF)}


HOLDING = Measure(
    name="idle-sockets",
    unit="KiB/socket",
    open=_with_idlers,
    bars=(Bar(what=f"memory of an API process for each of {_IDLE:,} idle sockets in a room", most=25),),
)

TALKING = Measure(
    name="room",
    unit="frames/s",
    open=_with_listeners,
    bars=(
        Bar(what=f"a room with {_LISTENERS} listeners, {_RATE} messages/s: POST → the frame at each", p99_ms=100),
        Bar(what="the same with 5 % who never read", ours=_WITH_DEAF, against=WEIR, p99_ms=100, p99_ratio=1.25),
    ),
)

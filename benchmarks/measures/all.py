"""Every measure, in the order of the results."""

from collections.abc import Sequence
from typing import Final

from benchmarks.measure import Measure
from benchmarks.measures import (
    appends,
    commands,
    feeds,
    imports,
    lists,
    orders,
    products,
    relay,
    replay,
    revoked,
    rooms,
    sale,
    scale,
    visible,
    workers,
)

MEASURES: Final[Sequence[Measure]] = (
    appends.WITH_MANY,
    appends.WITH_ONE,
    commands.HOT_STREAM,
    imports.IMPORTING,
    orders.PLACING,
    sale.AT_THE_HANDLER,
    sale.IN_STOCK,
    sale.SOLD_OUT,
    products.READING,
    lists.LISTING,
    relay.PUBLISHING,
    replay.REBUILDING,
    visible.BECOMING,
    revoked.ENDING,
    rooms.HOLDING,
    rooms.TALKING,
    feeds.TELLING,
    scale.PLACING,
    scale.READING,
    scale.PROJECTING,
    workers.SHARING,
)

"""Every measure, in the order of the results."""

from collections.abc import Sequence
from typing import Final

from benchmarks.measure import Measure
from benchmarks.measures import appends, commands, imports, orders, products, relay, replay, visible

MEASURES: Final[Sequence[Measure]] = (
    appends.WITH_MANY,
    appends.WITH_ONE,
    commands.HOT_STREAM,
    imports.IMPORTING,
    orders.PLACING,
    products.READING,
    relay.PUBLISHING,
    replay.REBUILDING,
    visible.BECOMING,
)

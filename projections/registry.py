"""The table of all read models. A new one is a file beside this one and a line here."""

from collections.abc import Mapping
from typing import Any, Final

from infra.eventsourcing.projections.projection import Projection
from projections.account_card import ACCOUNT_CARD
from projections.daily_revenue import DAILY_REVENUE
from projections.order_summary import ORDER_SUMMARY
from projections.product_card import PRODUCT_CARD
from projections.room_card import ROOM_CARD
from projections.room_member import ROOM_MEMBER
from projections.room_message import ROOM_MESSAGE
from projections.shop_counts import SHOP_COUNTS
from projections.webhook_card import WEBHOOK_CARD

PROJECTIONS: Final[Mapping[str, Projection[Any]]] = {
    each.name: each
    for each in (
        ORDER_SUMMARY,
        PRODUCT_CARD,
        ACCOUNT_CARD,
        SHOP_COUNTS,
        DAILY_REVENUE,
        ROOM_CARD,
        ROOM_MEMBER,
        ROOM_MESSAGE,
        WEBHOOK_CARD,
    )
}

BY_SHARD: Final = frozenset({SHOP_COUNTS.name, DAILY_REVENUE.name})
"""Those that have rows for each shard: they are built anew where the number of shards is changed."""

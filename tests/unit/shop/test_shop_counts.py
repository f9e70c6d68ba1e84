"""The sums of the shop, where a row is older than a status."""

import orjson

from domain.orders import LIFECYCLE, OrderShipped
from projections.shop_counts import MOVES, ShopCounts, _moved


def test_a_row_that_is_older_than_a_status_counts_it_in_a_document_that_can_be_written() -> None:
    old = object.__new__(ShopCounts)
    object.__setattr__(old, "__dict__", {"paid": 1, "version": 1})
    before, after = LIFECYCLE[OrderShipped]
    counted = _moved(MOVES[OrderShipped], old, None, None)  # type: ignore[arg-type]
    assert orjson.loads(orjson.dumps(counted.__dict__)) == {str(before): 0, str(after): 1, "version": 2}
